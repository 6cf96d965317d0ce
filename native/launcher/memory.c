/*
 * Every sandbox has two processes that wait nearly all the time. They share the pages of their code with all others, but each
 * counts as resident in each process that has touched it, some 0.6 MB after the set-up, of which the waiting needs a tenth.
 */
#include "memory.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of one program or library: all that was never written, and so is the same as in the file. */
static int forget_object(struct dl_phdr_info *object, size_t size, void *unused) {
  (void)size, (void)unused;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;
    uintptr_t from = object->dlpi_addr + part->p_vaddr;
    uintptr_t first = from & ~(page - 1), end = (from + part->p_memsz + page - 1) & ~(page - 1);
    madvise((void *)first, end - first, MADV_DONTNEED);
  }
  return 0;
}

void forget_code(void) { dl_iterate_phdr(forget_object, NULL); }
