# The native part: the addon (engine/) and the launcher, a small executable of its own (launcher/).
# Every source file of the two folders belongs to its target, so that adding one needs no edit here.
{
  "variables": {
    "list": "const [d, e] = process.argv.slice(-2); console.log(require('fs').readdirSync(d).filter((f) => f.endsWith(e)).sort().map((f) => d + '/' + f).join('\\n'))",
    # A C library inside halves the memory of the two processes that every sandbox keeps; where there is none to link, it is shared.
    "static": "const { spawnSync: run } = require('child_process'); const { CC = 'gcc' } = process.env; const found = (f) => require('fs').existsSync(run(CC, ['-print-file-name=' + f], { encoding: 'utf8' }).stdout.trim()); console.log(found('libc.a') && found('rcrt1.o') ? '-static-pie' : '')",
    "warnings": ["-Wall", "-Wextra", "-Werror", "-O2"],
  },
  "targets": [
    {
      "target_name": "engine",
      "sources": ["<!@(node -e \"<(list)\" engine .cc)"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["<@(warnings)", "-fvisibility=hidden"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++14"],
      "cflags_cc": ["-std=gnu++20", "-fno-exceptions", "-fno-rtti"],
    },
    {
      "target_name": "launcher",
      "type": "executable",
      "sources": ["<!@(node -e \"<(list)\" launcher .c)"],
      "defines": ["_GNU_SOURCE"],
      "cflags": ["<@(warnings)", "-std=gnu17", "-fvisibility=hidden", "-fPIE"],
      "ldflags": ["<!@(node -e \"<(static)\")"],
    },
  ],
}
