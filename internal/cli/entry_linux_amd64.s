#include "textflag.h"
#include "entry_linux.h"

#define SYS_write 1
#define SYS_fcntl 72
#define F_GETFD 1
#define SYS_getrlimit 97
#define SYS_exit_group 231

// LIMIT jumps to low if the limit of a resource is below least.
#define LIMIT(resource, least) \
	MOVQ $-1, 0(SP); \
	MOVL $SYS_getrlimit, AX; \
	MOVL $resource, DI; \
	MOVQ SP, SI; \
	SYSCALL; \
	CMPQ 0(SP), $least; \
	JCS low

TEXT ·entry(SB),NOSPLIT|NOFRAME,$0
	SUBQ $16, SP
	LIMIT(RLIMIT_AS, LEAST_AS)
	LIMIT(RLIMIT_DATA, LEAST_DATA)
	ADDQ $16, SP
	MOVL $SYS_fcntl, AX
	MOVL $1, DI
	MOVL $F_GETFD, SI
	SYSCALL
	CMPQ AX, $0
	JGE open
	MOVB $1, ·stdoutClosed(SB)
open:
	JMP _rt0_amd64_linux(SB)
low:
	MOVL $SYS_write, AX
	MOVL $2, DI
	LEAQ ·lowMemory(SB), SI
	MOVL $LOW_LENGTH, DX
	SYSCALL
	MOVL $SYS_exit_group, AX
	MOVL $EXIT_ACCESS, DI
	SYSCALL
	INT $3
