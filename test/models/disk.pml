/* A disk with a volatile cache, and the blocks that both metadata, the old and the new, lie in.
 *
 * A write puts a block into the cache. The disk stores cached blocks at any time and in any order.
 * A block that is being stored is torn. Flush waits until everything is stored. So a property of
 * `stored` that holds at every moment holds after a power cut at any moment. */

#define Superblock 0
#define OldOnly 1 /* a block that only the old metadata uses */
#define Both 2
#define NewOnly 3
#define Blocks 4

mtype = { Old, New, Invalid, Torn, Nothing }

mtype stored[Blocks] = Old;
mtype cached[Blocks] = Nothing;
bool storing[Blocks];

active proctype disk() {
	byte b;
end:	do
	:: select(b : 0 .. Blocks - 1);
	   atomic { cached[b] != Nothing -> stored[b] = Torn; storing[b] = true }
	   atomic {
		if
		:: cached[b] != Nothing -> stored[b] = cached[b]; cached[b] = Nothing
		:: else /* the power was cut */
		fi;
		storing[b] = false
	   }
	od
}

#define settled(b) (cached[b] == Nothing && !storing[b])

#ifdef WITHOUT_FLUSH
inline flush() { skip }
#else
inline flush() { settled(0) && settled(1) && settled(2) && settled(3) }
#endif

inline put(b, content) { cached[b] = content }

/* A power cut loses the cache. A process that dies loses nothing. */
inline cut_power() {
	d_step {
		cached[0] = Nothing; cached[1] = Nothing; cached[2] = Nothing; cached[3] = Nothing;
	}
}

/* What a reader gets of a block. */
#define shown(b) (cached[b] == Nothing -> stored[b] : cached[b])

/* A superblock that the kernel takes leads to its own metadata, complete. */
ltl safe {
	[] ((stored[Superblock] == Old -> stored[OldOnly] == Old && stored[Both] == Old)
	 && (stored[Superblock] == New -> stored[Both] == BothNew && stored[NewOnly] == New))
}
