/** A list in the order of use, its links in the members themselves: touching one costs a few stores. */
export interface Recent<Member> {
  older: Member | null;
  newer: Member | null;
}

export class RecencyList<Member extends Recent<Member>> {
  oldest: Member | null = null;
  newest: Member | null = null;
  size = 0;

  /** Adds a member that is in no list, as the newest. */
  add(member: Member): void {
    member.older = this.newest;
    member.newer = null;
    if (this.newest !== null) this.newest.newer = member;
    else this.oldest = member;
    this.newest = member;
    this.size++;
  }

  /** Makes a member of this list the newest. */
  touch(member: Member): void {
    if (this.newest === member) return;
    this.remove(member);
    this.add(member);
  }

  /** Takes a member of this list out. */
  remove(member: Member): void {
    const { older, newer } = member;
    if (older !== null) older.newer = newer;
    else this.oldest = newer;
    if (newer !== null) newer.older = older;
    else this.newest = older;
    member.older = null;
    member.newer = null;
    this.size--;
  }
}
