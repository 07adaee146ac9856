/* A repair in place, and its undo file, version 1 of internal/undo. The repair writes into blocks
 * that the old metadata does not use, then the superblock. A block that both use stays as it is. */

#define BothNew Old
#include "disk.pml"

active proctype tool() {
again:	if
	:: shown(Superblock) == Old -> goto repair
	:: shown(Superblock) == Old || shown(Superblock) == New -> goto undo
	:: else -> skip /* torn: neither is run */
	fi;
	goto end;

repair:
	flush(); /* the superblock shown may be in the cache only, left by a process that died */
	put(NewOnly, New);
	if :: goto stopped :: true fi;
	flush();
	put(Superblock, New);
	if :: goto stopped :: true fi;
	flush();
	goto again;

undo:
	flush();
	if
	:: shown(Superblock) == New ->
		put(OldOnly, Old);
		if :: goto stopped :: true fi;
		flush()
	:: else /* from the superblock on */
	fi;
	put(Superblock, Old);
	if :: goto stopped :: true fi;
	flush();
	put(NewOnly, Old);
	if :: goto stopped :: true fi;
	flush();
	goto again;

stopped:
	if
	:: cut_power()
	:: true
	fi;
	goto again;

end:	skip
}
