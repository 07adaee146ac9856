/* Metadata that is rewritten where it lies (thin_restore, thin_repair -o), and an undo file that
 * has every block: internal/write and version 2 of internal/undo. Each step may be the last,
 * and then either may be run again. */

#define BothNew New /* what the new metadata needs in that block */
#include "disk.pml"

active proctype tool() {
again:	if
	:: goto restore
	:: goto undo
	fi;

restore:
	put(Superblock, Invalid);
	flush();
	if :: goto stopped :: true fi;
	put(NewOnly, New);
	if :: goto stopped :: true fi;
	put(Both, New);
	if :: goto stopped :: true fi;
	flush();
	put(Superblock, New);
	if :: goto stopped :: true fi;
	flush();
	goto again;

undo:	/* is refused where block 0 is something else */
	if
	:: shown(Superblock) == Old ->
		if /* checkRestored */
		:: shown(OldOnly) == Old && shown(Both) == Old -> put(Superblock, Old); flush(); goto again
		:: else -> goto again
		fi
	:: else
	fi;
	put(Superblock, Invalid);
	flush();
	if :: goto stopped :: true fi;
	put(OldOnly, Old);
	if :: goto stopped :: true fi;
	put(Both, Old);
	put(NewOnly, Old);
	if :: goto stopped :: true fi;
	flush();
	put(Superblock, Old);
	if :: goto stopped :: true fi;
	flush();
	goto again;

stopped:
	if
	:: cut_power()
	:: true /* the process died */
	fi;
	goto again
}
