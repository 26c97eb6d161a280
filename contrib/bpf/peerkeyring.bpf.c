/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whose is it: the session keyring of a Unix socket's peer, out of the kernel's own books.
 *
 *	peerkeyring	answers getsockopt(2) for SO_PEERKEYRING (contrib/c/peerkeyring.h)
 *	peers		iterator: the same for every Unix socket of whoever reads it, told by cookie
 *	members		iterator: the session keyring of every task that lives, as it is now
 *	tasks		iterator: the same of each task it is made for, told by the task's number
 *	mates		iterator: the numbers of the tasks in the session of whoever reads it
 *
 * The law: of the kernel's structs only the fields read here are declared, and their places are
 * found at load time, so that one object serves every kernel with BTF. What cannot be answered
 * is refused. It refuses to judge: whether a ring counts, the asker decides.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "../c/peerkeyring.h"

#define AF_UNIX 1
#define SOCK_DGRAM 2
#define ESTABLISHED 1

#define KERNEL_STRUCT __attribute__((preserve_access_index))

typedef struct { __u32 val; } KERNEL_STRUCT kuid_t;

struct key {
	__s32 serial;
	__s64 expiry;
	kuid_t uid;
	__u32 perm;
	short state;
	unsigned long flags;
	char *description;
} KERNEL_STRUCT;

struct user_namespace { int level; } KERNEL_STRUCT;

struct cred {
	kuid_t euid;
	struct key *session_keyring;
	struct user_namespace *user_ns;
} KERNEL_STRUCT;

typedef struct { __s64 counter; } KERNEL_STRUCT atomic64_t;

struct sock_common {
	unsigned short skc_family;
	volatile unsigned char skc_state;
	atomic64_t skc_cookie;
} KERNEL_STRUCT;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	const struct cred *sk_peer_cred;
} KERNEL_STRUCT;

struct socket { struct sock *sk; } KERNEL_STRUCT;

struct file;
struct files_struct;

struct task_struct {
	int exit_state;
	int pid;
	struct files_struct *files;
	const struct cred *real_cred;
} KERNEL_STRUCT;

struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; } KERNEL_STRUCT;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
} KERNEL_STRUCT;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} KERNEL_STRUCT;

extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym;

/* The kernel reads its own structs for programs of a licence that is compatible with its own. */
char _license[] SEC("license") = "Dual MIT/GPL";

/* Credentials are never changed once they are shown, and a connected socket keeps those it has
 * until it is freed (copy_creds() in net/unix): there is nothing here to race with.
 */
static __always_inline void fill(struct peerkeyring *is, const struct cred *cred)
{
	struct key *ring;

	__builtin_memset(is, 0, sizeof *is);
	is->magic = PEERKEYRING_MAGIC;
	is->version = 1;
	is->size = sizeof *is;
	if (!cred)
		return;
	is->has_cred = 1;
	is->euid = cred->euid.val;
	is->userns_level = cred->user_ns->level;
	ring = cred->session_keyring;
	if (!ring)
		return;
	is->serial = ring->serial;
	is->mask = ring->perm;
	is->key_uid = ring->uid.val;
	is->flags = ring->flags;
	is->expiry = ring->expiry;
	is->state = ring->state;
	bpf_probe_read_kernel_str(is->name, sizeof is->name, ring->description);
}

/* 0 leaves an error of the kernel's as it is, and makes EPERM of an answer that a program of a
 * descendant cgroup has given before us; 1 lets the answer pass.
 */
SEC("cgroup/getsockopt")
int peerkeyring(struct bpf_sockopt *ctx)
{
	/* volatile: the two fields set at the end may only be written one by one. */
	volatile struct bpf_sockopt *answer = ctx;
	struct peerkeyring is, *out = ctx->optval;
	struct bpf_sock *sk = ctx->sk;
	const struct sock *sock;

	if (ctx->level != SOL_PEERKEYRING)
		return 1;
	if (ctx->optname != SO_PEERKEYRING || (void *)(out + 1) > ctx->optval_end || !sk)
		return 0;
	if (sk->family != AF_UNIX || sk->type == SOCK_DGRAM || sk->state != ESTABLISHED)
		return 0;
	sock = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock));
	fill(&is, sock->sk_peer_cred);
	*out = is;
	answer->optlen = sizeof is;
	answer->retval = 0;
	return 1;
}

struct answer {
	__u64 cookie;
	struct peerkeyring is;
};

/* The link chooses a process by its number, which may be given away while somebody holds the link:
 * so only the reader's own file table is shown, whoever it is by then.
 */
SEC("iter/task_file")
int peers(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task, *reader = bpf_get_current_task_btf();
	struct file *file = ctx->file;
	struct answer answer;
	struct socket *socket;
	struct sock *sock;

	if (!file || !task || task->files != reader->files)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sock = socket->sk;
	if (!sock || sock->__sk_common.skc_family != AF_UNIX || sock->sk_type == SOCK_DGRAM ||
	    sock->__sk_common.skc_state != ESTABLISHED)
		return 0;
	answer.cookie = sock->__sk_common.skc_cookie.counter;
	fill(&answer.is, sock->sk_peer_cred);
	bpf_seq_write(ctx->meta->seq, &answer, sizeof answer);
	return 0;
}

struct member {
	__s64 expiry;
	__s32 serial;
	__u32 mask;
	__u32 key_uid;
	__u32 flags;
	__s32 state;
	__u32 unused;
};

/* real_cred: what a task may be acting as for a moment, inside the kernel, is not what it is.
 * One that has exited and was not reaped yet is in no session any more.
 */
SEC("iter/task")
int members(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct member member = {};
	struct key *ring;

	if (!task || task->exit_state)
		return 0;
	ring = task->real_cred->session_keyring;
	if (!ring)
		return 0;
	member.serial = ring->serial;
	member.mask = ring->perm;
	member.key_uid = ring->uid.val;
	member.flags = ring->flags;
	member.expiry = ring->expiry;
	member.state = ring->state;
	bpf_seq_write(ctx->meta->seq, &member, sizeof member);
	return 0;
}

struct task {
	__s32 tid;
	__u32 unused;
	struct peerkeyring is;
};

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task told;

	if (!task || task->exit_state)
		return 0;
	told.tid = task->pid;
	told.unused = 0;
	fill(&told.is, task->real_cred);
	bpf_seq_write(ctx->meta->seq, &told, sizeof told);
	return 0;
}

/* Whoever holds the link learns nothing but who is where it is itself: of its own uid, in its own
 * session keyring. The numbers are those of the first pid namespace.
 */
SEC("iter/task")
int mates(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *reader = bpf_get_current_task_btf();
	const struct cred *theirs, *own = reader->real_cred;
	__s32 tid;

	if (!task || task->exit_state || !own->session_keyring)
		return 0;
	theirs = task->real_cred;
	if (theirs->session_keyring != own->session_keyring || theirs->euid.val != own->euid.val)
		return 0;
	tid = task->pid;
	bpf_seq_write(ctx->meta->seq, &tid, sizeof tid);
	return 0;
}
