/* SPDX-License-Identifier: MIT */
/* The supervisor's loop: take a call, let it go on or answer it.
 *
 * The law: two threads, one of which stands by.  Whoever takes a call that is ours asks the broker
 * itself, since to wake somebody would take longer; if the answer is not there in a millisecond the
 * other goes on taking, so that what is not ours waits for no broker.  Calls lie in memory that is
 * shared with whoever takes over.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "execguard.h"

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1ul          /* linux/seccomp.h since 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define PATIENCE 1000000        /* nanoseconds */

/* Of the two threads, the one that takes calls ... */
enum state {
    TAKES,              /* ... does so, and the other stands by */
    ASKS,               /* ... asks the broker, and the other stands by */
    OTHER_TAKES,        /* ... has asked for so long that the other takes instead */
};

static pthread_mutex_t lock;            /* of state, and of door->first and ->next */
static pthread_cond_t room;
static enum state state;
static int alarm_clock = -1;            /* wakes the one that stands by */
static int (*watch)(struct door *door); /* makes a guard; its pidfd */
static int guard = -1;

static void set_alarm(long nanoseconds)
{
    const struct itimerspec at = { .it_value.tv_nsec = nanoseconds };

    timerfd_settime(alarm_clock, 0, &at, NULL);
}

/* ---- asking -------------------------------------------------------------------------------- */

/* Answer what is in the queue; 1 if the other thread has come to take meanwhile. */
static int ask(struct door *door)
{
    int relieved;

    set_alarm(PATIENCE);
    pthread_mutex_lock(&lock);
    while (door->first != door->next) {
        pthread_mutex_unlock(&lock);
        answer(door, &door->queue[door->first % QUEUE]);
        pthread_mutex_lock(&lock);
        door->first++;
        pthread_cond_signal(&room);
    }
    relieved = state == OTHER_TAKES;
    if (!relieved)
        door->first = door->next = 0;   /* so that most of the queue is never touched */
    state = TAKES;
    pthread_mutex_unlock(&lock);
    set_alarm(0);
    return relieved;
}

/* 1: the calling thread is to ask. */
static int enqueue(struct door *door)
{
    int asks;

    pthread_mutex_lock(&lock);
    door->next++;
    door->taken.id = 0;
    asks = state == TAKES;
    if (asks)
        state = ASKS;
    while (!asks && door->next - door->first == QUEUE)
        pthread_cond_wait(&room, &lock);
    pthread_mutex_unlock(&lock);
    return asks;
}

/* ---- taking -------------------------------------------------------------------------------- */

/* 1: the other thread has come to take meanwhile. */
static int take(struct door *door)
{
    struct request *request = &door->queue[door->next % QUEUE];

    request->call = door->taken;
    request->tries = 0;
    request->deed = look(door, request);
    if (request->deed != NOT_OURS)
        return enqueue(door) && ask(door);
    answer_go_on(door, &request->call);
    door->taken.id = 0;
    return 0;
}

static int receive(struct door *door)
{
    memset(&door->taken, 0, sizeof(door->taken));
    if (ioctl(door->listener, SECCOMP_IOCTL_NOTIF_RECV, &door->taken) == 0) {
        door->taken_tries = door->deaths = 0;
        return 0;
    }
    door->taken.id = 0;
    return -1;
}

/* Until the other takes: 0; or until nobody is left: 1. */
static int take_all(struct door *door)
{
    for (;;) {
        struct pollfd on[2] = { { .fd = door->listener, .events = POLLIN },
                                { .fd = guard, .events = POLLIN } };

        if (poll(on, 2, -1) < 0)
            continue;
        if (on[1].revents) {
            close(guard);
            guard = watch(door);
        }
        if (on[0].revents & POLLIN) {
            if (receive(door) == 0 && take(door))
                return 0;
        } else if (on[0].revents) {
            return 1;
        }
    }
}

/* ---- the two ------------------------------------------------------------------------------- */

static void stand_by(void)
{
    uint64_t times;
    int comes = 0;

    while (!comes) {
        if (read(alarm_clock, &times, sizeof(times)) < 0)
            continue;
        pthread_mutex_lock(&lock);
        comes = state == ASKS;
        if (comes)
            state = OTHER_TAKES;
        pthread_mutex_unlock(&lock);
    }
}

static void *second(void *with)
{
    struct door *door = with;

    do
        stand_by();
    while (!take_all(door));
    guard_end(door);    /* the first waits for a broker, and has nobody to answer */
}

/* What whoever was here before had taken, and neither let go on nor put into the queue. A call that
 * ends us again and again is refused. */
static void take_again(struct door *door)
{
    struct request *request = &door->queue[door->next % QUEUE];

    request->call = door->taken;
    request->tries = 0;
    if (door->taken_tries++ > 1)
        answer_error(door, &request->call, EIO);
    else if ((request->deed = look(door, request)) == NOT_OURS)
        answer_go_on(door, &request->call);
    else
        door->next++;
    door->taken.id = 0;
}

/* What it had begun, with nobody else about; 1 as of ask(). */
static int take_over(struct door *door)
{
    door->srv.board = door->srv.changing = NULL;
    if (door->taken.id)
        take_again(door);
    if (door->first == door->next) {
        srv_connect(&door->srv);        /* or later, when it is asked for */
        return 0;
    }
    pthread_mutex_lock(&lock);
    state = ASKS;
    pthread_mutex_unlock(&lock);
    return ask(door);
}

void serve(struct door *door, int (*make_guard)(struct door *door))
{
    pthread_t thread;

    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    room = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    state = TAKES;
    watch = make_guard;
    guard = watch(door);
    alarm_clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    ioctl(door->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    if (alarm_clock < 0 || pthread_create(&thread, NULL, second, door) != 0)
        abort();        /* the guard tries again */
    if (take_over(door))
        stand_by();
    while (!take_all(door))
        stand_by();
    guard_end(door);
}
