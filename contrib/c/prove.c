/* SPDX-License-Identifier: MIT */
/* Proof of possession: the digest over a nonce, written into the one proof key of our session.
 *
 * The law: the ring is named by its serial, never by -3, for which the kernel might make a new
 * one; what cannot be shown is said, and is never an error: the other scopes serve without it.  It
 * refuses to know the wire, and to judge what the broker can judge.
 */
#include "board.h"
#include "peerkeyring.h"
#include "sha256.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PROOF_MASK 0x0f030000u
#define FRESH_MASK 0x3f010000u  /* what add_key(2) gives: nobody can have linked such a key */
#define PIDFS_MAGIC 0x50494446  /* linux/magic.h */
#define RING_KEYS 4096
#define HOW "start one with `pagsrv session`, `keyctl session` or pam_keyinit"

/* keyctl(2) and add_key(2), which libc has no names for. */
enum { SESSION_KEYRING = -3 };
enum { GET_KEYRING_ID = 0, SETPERM = 5, DESCRIBE = 6, UNLINK = 9, READ = 11 };

static long keyctl(int operation, long one, long two, long three)
{
    return syscall(SYS_keyctl, operation, one, two, three, 0L);
}

static int add_key(const char *name, const char *payload, int ring)
{
    return (int)syscall(SYS_add_key, "user", name, payload, strlen(payload), ring);
}

struct key {
    unsigned uid, mask;
    char type[32];
    char name[512];
};

/* KEYCTL_DESCRIBE; a name that is longer than ours ever are is cut. */
static int describe(int serial, struct key *key)
{
    char text[1024] = "";
    int at = 0;
    long size = keyctl(DESCRIBE, serial, (long)text, sizeof text - 1);

    if (size < 0)
        return -1;
    if (sscanf(text, "%31[^;];%u;%*u;%x;%n", key->type, &key->uid, &key->mask, &at) != 3 || !at) {
        errno = EPROTO;
        return -1;
    }
    snprintf(key->name, sizeof key->name, "%.511s", text + at);
    return 0;
}

/* The pidfs inode of this process; 0 where the kernel has none. */
static uint64_t own_inode(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    struct statfs system;
    struct stat is;
    uint64_t inode = 0;

    if (pidfd < 0)
        return 0;
    if (!fstatfs(pidfd, &system) && system.f_type == PIDFS_MAGIC && !fstat(pidfd, &is))
        inode = is.st_ino;
    close(pidfd);
    return inode;
}

/* ---- the ring ------------------------------------------------------------------------------ */

static const char *fault_state(int error)
{
    switch (error) {
    case EKEYREVOKED:
        return "revoked";
    case EKEYEXPIRED:
        return "expired";
    case ENOKEY:
        return "gone";
    case EACCES:
        return "out of reach";
    default:
        return "other";
    }
}

/* Rings that every process of the uid reaches, or that one process alone has, by the names the
 * kernel gives them (security/keys/process_keys.c, persistent.c). */
static const char *no_session(const char *name)
{
    static const char *const rings[][2] = {
        { "_uid_ses", "the uid's own keyring" }, { "_uid", "the uid's own keyring" },
        { "_persistent", "the uid's persistent keyring" },
        { "_pid", "a process's own keyring" }, { "_tid", "a thread's own keyring" },
    };
    size_t size = strcspn(name, ".");

    for (size_t i = 0; i < sizeof rings / sizeof *rings; i++)
        if (strlen(rings[i][0]) == size && !strncmp(rings[i][0], name, size))
            return rings[i][1];
    return NULL;
}

static void not_had(struct prover *prover, int error)
{
    prover->hopeless = 1;
    errno = error;
    if (error == ENOSYS || error == EOPNOTSUPP || error == EPERM)
        snprintf(prover->why, sizeof prover->why, "there are no session keyrings here: describing "
                 "a key failed: %m (a container may forbid keyctl)");
    else
        snprintf(prover->why, sizeof prover->why, "this process's session keyring is %s: " HOW,
                 fault_state(error));
}

void prover_look(struct prover *prover)
{
    struct key ring;
    const char *what;
    long serial;

    *prover = (struct prover){ 0 };
    serial = describe(SESSION_KEYRING, &ring) ? -1
        : keyctl(GET_KEYRING_ID, SESSION_KEYRING, 0, 0);
    if (serial < 0) {
        not_had(prover, errno);
        return;
    }
    what = no_session(ring.name);
    prover->hopeless = what || ring.uid != geteuid();
    /* No nonce is asked for that cannot be answered. */
    prover->ring = prover->hopeless ? 0 : (int)serial;
    if (what)
        snprintf(prover->why, sizeof prover->why, "ring %ld (%.60s) is %s, not a login session: "
                 HOW, serial, ring.name, what);
    else if (prover->hopeless)
        snprintf(prover->why, sizeof prover->why, "ring %ld belongs to uid %u and not to uid %u: "
                 "su and sudo keep the caller's session; " HOW, serial, ring.uid,
                 (unsigned)geteuid());
}

/* A group that may stand for a PAG, alone or with another (pagsrv/proofs/groups.py). */
static int may_have_pag(void)
{
    gid_t groups[256];
    int count = getgroups(256, groups);

    for (int i = 0; i < count; i++)
        if ((groups[i] >= 0x41000000 && groups[i] <= 0x41ffffff) ||
            (groups[i] >= 0x8300 && groups[i] <= 0x86ff))
            return 1;
    return count < 0;
}

const char *prover_counted_on(int sock)
{
    struct prover prover;
    struct peerkeyring is;
    socklen_t size = sizeof is;

    if (may_have_pag())
        return NULL;
    prover_look(&prover);
    if (!prover.ring)
        return "[\"user\"]";
    /* Whether the kernel tells of sessions here: a hint, since the broker judges the open by it. */
    return getsockopt(sock, SOL_PEERKEYRING, SO_PEERKEYRING, &is, &size) ? NULL
        : "[\"session\",\"user\"]";
}

/* ---- the key ------------------------------------------------------------------------------- */

/* Take every key of that name out of the ring. */
static int clear(int ring, const char *name)
{
    int32_t held[RING_KEYS];
    long size = keyctl(READ, ring, (long)held, sizeof held);
    struct key key;

    if (size < 0)
        return -1;
    if ((size_t)size > sizeof held) {
        errno = EMSGSIZE;
        return -1;
    }
    for (size_t i = 0; i < (size_t)size / sizeof *held; i++)
        if (!describe(held[i], &key) && !strcmp(key.type, "user") && !strcmp(key.name, name) &&
            keyctl(UNLINK, held[i], ring, 0))
            return -1;
    return 0;
}

static int write_proof(int ring, const char *name, const char *payload)
{
    struct key key;
    int serial = add_key(name, payload, ring);

    if (serial >= 0 && !describe(serial, &key)) {
        if (key.uid == geteuid() && key.mask == PROOF_MASK)
            return 0;
        if (key.uid == geteuid() && key.mask == FRESH_MASK)
            return (int)keyctl(SETPERM, serial, PROOF_MASK, 0);
    } else if (errno != EACCES) {
        return -1;
    }
    /* A key with any other mask may have been linked by others, who could then write it still
     * after the mask was tightened: it goes, and a new one comes. */
    if (clear(ring, name))
        return -1;
    serial = add_key(name, payload, ring);
    return serial < 0 ? -1 : (int)keyctl(SETPERM, serial, PROOF_MASK, 0);
}

void prover_digest(const char *nonce, uint64_t inode, int ring, uint64_t uid, const char *broker,
                   char payload[65])
{
    char text[256];
    int size = snprintf(text, sizeof text, "pagsrv-proof-1\n%.64s\n%llu\n%d\n%llu\n%.64s", nonce,
                        (unsigned long long)inode, ring, (unsigned long long)uid, broker);

    sha256_hex(text, (size_t)size, payload);
}

void prover_answer(struct prover *prover, const char *nonce, uint64_t uid, const char *broker)
{
    char payload[65], name[64];

    if (prover->hopeless)
        return;
    prover_digest(nonce, own_inode(), prover->ring, uid, broker, payload);
    snprintf(name, sizeof name, "pagsrv:proof:%s", broker);
    if (!write_proof(prover->ring, name, payload))
        return;
    prover->hopeless = 1;
    if (errno == EDQUOT)
        snprintf(prover->why, sizeof prover->why, "there is no room for the proof key: this uid's "
                 "key quota is used up, see /proc/key-users and `keyctl show`");
    else
        snprintf(prover->why, sizeof prover->why, "the session keyring %d takes no proof (%m): "
                 HOW, prover->ring);
}
