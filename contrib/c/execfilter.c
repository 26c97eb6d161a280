/* SPDX-License-Identifier: MIT */
/* The filter: which system calls are shown to the supervisor.
 *
 * The law: every call with a path that srv.h answers; of writes those that may be a number; what
 * makes a process another user's or gives it another root.  A process behind the door stays in the
 * session that the door serves: keyctl(2) makes no other.  Calls by another architecture's numbers
 * (32-bit programs, x32) open what they always did.  What is not named here costs nothing: the
 * kernel keeps for each number that it is allowed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#include "exec.h"

#if defined(__x86_64__)
#define X32 0x40000000u
#define OTHER_KEYCTL 288
#define OTHER_PIVOT_ROOT 217
#define OTHER_SETNS 346
#elif defined(__aarch64__)
#define OTHER_KEYCTL 311
#define OTHER_PIVOT_ROOT 218
#define OTHER_SETNS 375
#endif

#define FIELD(name) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, name))
/* The lower half of an argument: both architectures are little-endian. */
#define VALUE(n) FIELD(args[n])
#define VERDICT(action) BPF_STMT(BPF_RET | BPF_K, action)
#define UNLESS_EQUAL(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)

#define ALLOW VERDICT(SECCOMP_RET_ALLOW)
#define SHOW VERDICT(SECCOMP_RET_USER_NOTIF)
#define REFUSE VERDICT(SECCOMP_RET_ERRNO | EPERM)

#define ALWAYS(number) UNLESS_EQUAL(number, 1), SHOW
/* Not where AT_EMPTY_PATH says that it is about a descriptor. */
#define BY_PATH(number, flags) \
    UNLESS_EQUAL(number, 4), VALUE(flags), \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, AT_EMPTY_PATH, 0, 1), ALLOW, SHOW
/* A number has 1 to 19 bytes.  8 are what eventfd(2) takes, and more than any number needs. */
#define SHORT(number) \
    UNLESS_EQUAL(number, 6), VALUE(2), \
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SRV_TEXT, 3, 0), \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 8, 2, 0), \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), SHOW, ALLOW
/* musl's stdio writes so. */
#define OF_TWO(number) \
    UNLESS_EQUAL(number, 4), VALUE(2), \
    BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 2, 1, 0), SHOW, ALLOW
#define NO_OTHER_SESSION(number) \
    UNLESS_EQUAL(number, 5), VALUE(0), \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KEYCTL_JOIN_SESSION_KEYRING, 2, 0), \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KEYCTL_SESSION_TO_PARENT, 1, 0), ALLOW, REFUSE

#define AS_OTHERS(bit) \
    ALWAYS((bit) | SYS_setuid), ALWAYS((bit) | SYS_setgid), ALWAYS((bit) | SYS_setreuid), \
    ALWAYS((bit) | SYS_setregid), ALWAYS((bit) | SYS_setresuid), ALWAYS((bit) | SYS_setresgid), \
    ALWAYS((bit) | SYS_setgroups), ALWAYS((bit) | SYS_setfsuid), ALWAYS((bit) | SYS_setfsgid), \
    ALWAYS((bit) | SYS_chroot), ALWAYS((bit) | SYS_pivot_root), ALWAYS((bit) | SYS_setns)

/* i386 and arm have the same numbers here: setuid, setgid, setreuid, setregid, setgroups, setfsuid,
 * setfsgid, setresuid, setresgid, then each for 32-bit ids, and chroot. */
static const struct sock_filter other[] = {
    FIELD(nr),
    NO_OTHER_SESSION(OTHER_KEYCTL),
    ALWAYS(23), ALWAYS(46), ALWAYS(70), ALWAYS(71), ALWAYS(81), ALWAYS(138), ALWAYS(139),
    ALWAYS(164), ALWAYS(170), ALWAYS(213), ALWAYS(214), ALWAYS(203), ALWAYS(204), ALWAYS(206),
    ALWAYS(215), ALWAYS(216), ALWAYS(208), ALWAYS(210), ALWAYS(61), ALWAYS(OTHER_PIVOT_ROOT),
    ALWAYS(OTHER_SETNS),
    ALLOW,
};

#ifdef X32
static const struct sock_filter x32[] = {
    NO_OTHER_SESSION(X32 | SYS_keyctl), AS_OTHERS(X32), ALLOW,
};
#endif

static const struct sock_filter ours[] = {
#ifdef SYS_open
    ALWAYS(SYS_open), ALWAYS(SYS_creat), ALWAYS(SYS_access), ALWAYS(SYS_unlink),
    ALWAYS(SYS_rename), ALWAYS(SYS_stat), ALWAYS(SYS_lstat),
    ALWAYS(SYS_mkdir), ALWAYS(SYS_rmdir), ALWAYS(SYS_mknod), ALWAYS(SYS_symlink),
    ALWAYS(SYS_link), ALWAYS(SYS_chmod),
#endif
    ALWAYS(SYS_mkdirat), ALWAYS(SYS_mknodat), ALWAYS(SYS_symlinkat), ALWAYS(SYS_linkat),
    ALWAYS(SYS_fchmodat), ALWAYS(SYS_truncate),
    ALWAYS(SYS_openat), ALWAYS(SYS_openat2), ALWAYS(SYS_faccessat), ALWAYS(SYS_unlinkat),
#ifdef SYS_renameat
    ALWAYS(SYS_renameat),
#endif
    ALWAYS(SYS_renameat2), ALWAYS(SYS_getxattr), ALWAYS(SYS_lgetxattr),
    ALWAYS(SYS_listxattr), ALWAYS(SYS_llistxattr), AS_OTHERS(0),
    BY_PATH(SYS_newfstatat, 3), BY_PATH(SYS_statx, 2), BY_PATH(SYS_faccessat2, 3),
    SHORT(SYS_write), SHORT(SYS_pwrite64), OF_TWO(SYS_writev),
    NO_OTHER_SESSION(SYS_keyctl),
    ALLOW,
};

#define LENGTH(part) (sizeof(part) / sizeof(*(part)))
#define APPEND(part) (memcpy(code + length, part, sizeof(part)), length += LENGTH(part))

const struct sock_fprog *filter(void)
{
    static struct sock_filter code[BPF_MAXINSNS];
    static struct sock_fprog program = { .filter = code };
    const struct sock_filter by_architecture[] = {
        FIELD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, EXEC_ARCH, LENGTH(other), 0),
    };
    const struct sock_filter number[] = { FIELD(nr) };
    unsigned short length = 0;

    APPEND(by_architecture);
    APPEND(other);
    APPEND(number);
#ifdef X32
    const struct sock_filter by_bit[] = {
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 0, LENGTH(x32)),
    };
    APPEND(by_bit);
    APPEND(x32);
#endif
    APPEND(ours);
    program.len = length;
    return &program;
}
