#include "textflag.h"
#include "entry_linux.h"

#define SYS_write 64
#define SYS_fcntl 25
#define F_GETFD 1
#define SYS_getrlimit 163
#define SYS_exit_group 94

// LIMIT jumps to low if the limit of a resource is below least.
#define LIMIT(resource, least) \
	MOVD $-1, R2; \
	MOVD R2, 0(RSP); \
	MOVD $SYS_getrlimit, R8; \
	MOVD $resource, R0; \
	MOVD RSP, R1; \
	SVC; \
	MOVD 0(RSP), R2; \
	MOVD $least, R3; \
	CMP R3, R2; \
	BLO low

TEXT ·entry(SB),NOSPLIT|NOFRAME,$0
	SUB $16, RSP
	LIMIT(RLIMIT_AS, LEAST_AS)
	LIMIT(RLIMIT_DATA, LEAST_DATA)
	ADD $16, RSP
	MOVD $SYS_fcntl, R8
	MOVD $1, R0
	MOVD $F_GETFD, R1
	SVC
	CMP $0, R0
	BGE open
	MOVD $1, R1
	MOVB R1, ·stdoutClosed(SB)
open:
	JMP _rt0_arm64_linux(SB)
low:
	MOVD $SYS_write, R8
	MOVD $2, R0
	MOVD $·lowMemory(SB), R1
	MOVD $LOW_LENGTH, R2
	SVC
	MOVD $SYS_exit_group, R8
	MOVD $EXIT_ACCESS, R0
	SVC
	BRK $0
