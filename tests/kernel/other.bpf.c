/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Somebody else's getsockopt programs, for tests of whose answer stands. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../../contrib/c/peerkeyring.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* Answers every question for a session keyring with serial 666. */
SEC("cgroup/getsockopt")
int forge(struct bpf_sockopt *ctx)
{
	volatile struct bpf_sockopt *answer = ctx;
	struct peerkeyring *out = ctx->optval;

	if (ctx->level != SOL_PEERKEYRING || (void *)(out + 1) > ctx->optval_end)
		return 1;
	__builtin_memset(out, 0, sizeof *out);
	out->magic = PEERKEYRING_MAGIC;
	out->version = 1;
	out->size = sizeof *out;
	out->serial = 666;
	out->has_cred = 1;
	answer->optlen = sizeof *out;
	answer->retval = 0;
	return 1;
}

/* Forbids the question. */
SEC("cgroup/getsockopt")
int forbid(struct bpf_sockopt *ctx)
{
	return ctx->level != SOL_PEERKEYRING;
}
