// What the Go runtime needs to start, as measured (725 MiB and 76 MiB), with a margin, because it
// depends on the memory layout.
#define RLIMIT_AS 9
#define LEAST_AS 0x40000000
#define RLIMIT_DATA 2
#define LEAST_DATA 0x6000000

#define EXIT_ACCESS 3 // as exitAccess
#define LOW_LENGTH 91
DATA ·lowMemory+0(SB)/8, $"thinpool"
DATA ·lowMemory+8(SB)/8, $": out of"
DATA ·lowMemory+16(SB)/8, $" memory:"
DATA ·lowMemory+24(SB)/8, $" raise t"
DATA ·lowMemory+32(SB)/8, $"he limit"
DATA ·lowMemory+40(SB)/8, $"s (ulimi"
DATA ·lowMemory+48(SB)/8, $"t -v 110"
DATA ·lowMemory+56(SB)/8, $"0000, ul"
DATA ·lowMemory+64(SB)/8, $"imit -d "
DATA ·lowMemory+72(SB)/8, $"100000, "
DATA ·lowMemory+80(SB)/8, $"or highe"
DATA ·lowMemory+88(SB)/3, $"r)\n"
GLOBL ·lowMemory(SB), RODATA, $LOW_LENGTH
