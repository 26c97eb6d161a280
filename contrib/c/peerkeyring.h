/* SPDX-License-Identifier: MIT */
/* SO_PEERKEYRING: the session keyring of a Unix socket's peer, as it was at connect(2).
 *
 *	struct peerkeyring is;
 *	socklen_t size = sizeof is;
 *	if (getsockopt(fd, SOL_PEERKEYRING, SO_PEERKEYRING, &is, &size) == 0 &&
 *	    is.magic == PEERKEYRING_MAGIC && is.version == 1) ...
 *
 * Answered where root has run `pagsrv peerkeyring install`, for connected stream and seqpacket
 * sockets; anywhere else the call fails, mostly with EOPNOTSUPP. Ask only of sockets of your own
 * accept(2): a socketpair speaks for whoever made it, a client's end for whoever called listen(2).
 * The ring proves a session only if key_uid is euid, flags has none of PEERKEYRING_OVER or
 * PEERKEYRING_UID_RING, and expiry (0 and 2^63-1: never) has not passed. The ids are those of the
 * initial user namespace. Further fields are added at the end, and size then grows.
 */
#ifndef PEERKEYRING_H
#define PEERKEYRING_H
#include <linux/types.h>

#define SOL_PEERKEYRING 0x50414753
#define SO_PEERKEYRING 1
#define PEERKEYRING_MAGIC 0x6b676170
#define PEERKEYRING_OVER 0x23		/* dead, revoked or invalidated */
#define PEERKEYRING_UID_RING 0x200	/* _uid_ses of the uid, and no session of its own */

struct peerkeyring {
	__u32 magic;
	__u16 version;
	__u16 size;
	__s64 expiry;		/* seconds since 1970 */
	__s32 serial;		/* 0: it had no session keyring */
	__u32 mask;		/* the permission mask of the ring, and so on of the ring: */
	__u32 key_uid;
	__u32 flags;
	__s32 state;		/* 1: instantiated */
	__u32 euid;		/* of the peer at connect(2) */
	__u32 userns_level;	/* how deep its user namespace lay; 0: the initial one */
	__u32 has_cred;		/* 0: the kernel keeps no credentials for this socket */
	char name[32];		/* what the ring is called, cut short; ends with a NUL */
};
#endif
