/* A simulated kernel behind ring.h and os.h: seeded, single-threaded, and as unkind as the real one may be. It
 * reorders, shortens, delays, fails and overflows, and it checks that memory it owns is left alone until it gives it
 * back. Where it is unsure what Linux would do, it does either. */
#ifndef MP_FAKE_KERNEL_H
#define MP_FAKE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ring.h"

#define FAKE_NONE UINT32_MAX
#define FAKE_FDS 1024u
#define FAKE_INBOX_BYTES 4096u
#define FAKE_BACKLOG 64u
/* A request that has waited so often for room is given to a worker (APOLL_MAX_RETRY). */
#define FAKE_POLLS 127u
/* The end that a receive has missed is asked for within this time: a second, and what a schedule passes at once. */
#define FAKE_DEAF_NS 4000000000

/* How often, per mille. */
struct fake_chances {
	uint16_t defer;         /* a request makes no progress now */
	uint16_t shorten;       /* fewer bytes than possible */
	uint16_t end_multishot; /* a multishot receive ends after a piece of data */
	uint16_t refuse;        /* enter takes nothing: EAGAIN, ENOMEM */
	uint16_t partial;       /* enter takes some */
	uint16_t interrupt;     /* a signal ends a wait */
	uint16_t running;       /* a cancel comes too late: EALREADY */
	uint16_t miss;          /* a cancel does not find what it should cancel: ENOENT */
	uint16_t fault;         /* EINTR of a transfer */
	uint16_t reset;         /* a connection breaks under a transfer */
	uint16_t abort;         /* ECONNABORTED of an accept */
	uint16_t late_install;  /* an fd install that does not complete at once */
	uint16_t lose_end;      /* a multishot receive takes data and the end behind it for data, and waits */
	uint16_t late_notice;   /* the memory of a zero-copy send is not given back now */
	uint16_t early_notice;  /* ... or before the send's own result */
	uint16_t vain_notice;   /* a zero-copy send that fails gets a notification all the same */
	uint16_t copy;          /* a zero-copy send is copied */
	uint16_t refuse_held;   /* a zero-copy send may pin no more: ENOMEM, ENOBUFS */
};

enum { FAKE_STREAM = 1, FAKE_LISTENER, FAKE_EVENTFD, FAKE_RING };

struct fake_file {
	int kind;
	bool socket; /* a pipe otherwise */
	bool nonblock;
	bool ended;  /* no more bytes will come */
	bool broken; /* ... because of a reset */
	bool shut_write;
	bool connected;
	uint32_t references;
	uint32_t peer;
	uint16_t port;      /* this end's */
	uint16_t peer_port; /* the other's */
	uint32_t head, count;
	uint8_t inbox[FAKE_INBOX_BYTES];
	uint32_t backlog[FAKE_BACKLOG];
	uint32_t backlog_count;
	uint64_t counter;
	struct fake_ring *ring;
};

/* A closed direct descriptor, kept until every request on one that is older than its close has ended. */
struct fake_late {
	uint32_t file;
	uint64_t closed;
};

struct fake_ring {
	struct mp_ring *ring;
	_Atomic uint32_t sq_head, sq_tail, sq_flags, cq_head, cq_tail;
	uint32_t *fixed; /* file numbers */
	uint32_t fixed_count;
	struct fake_late *late; /* closed direct descriptors that are not released yet, oldest first */
	uint32_t late_count, late_room;
	struct io_uring_buf_ring *group;
	uint32_t group_entries;
	uint16_t group_head, group_seen;
	uint8_t *group_owned; /* per buffer: the kernel's */
	struct io_uring_cqe *overflow;
	uint32_t overflow_count, overflow_room;
	bool disabled;        /* not started: takes registrations only */
	bool restricted;      /* refuses what the two below do not have, and every registration */
	uint8_t allowed[256]; /* per operation */
	uint8_t allowed_flags;
};

struct fake_request {
	bool live;
	bool running; /* cannot be cancelled any more */
	bool deaf;    /* has missed the end */
	int64_t deaf_since_ns;
	bool orphan; /* the thread that made it has ended: it is cancelled when it could go on */
	uint32_t submitter;
	struct io_uring_sqe sqe;
	struct fake_ring *ring;
	uint32_t file;
	uint64_t number; /* in the order in which requests were taken */
	uint32_t done, bytes, polls;
	struct iovec *vectors;
	uint32_t vector_count;
	uint64_t checksum;
};

/* Begins and ends a simulation; the end checks that nothing is left. */
void fake_begin(uint64_t seed, const struct fake_chances *chances);
void fake_end(void);
extern struct fake_chances fake_chances;
extern uint64_t fake_random;
extern uint32_t fake_fd_limit; /* fds of the process at a time */
/* Called by each enter that may wait, before it takes anything: what another thread does meanwhile. */
extern void (*fake_on_wait)(void);
/* Called by each yield of a channel that waits awake: what the kernel and others do meanwhile. */
extern void (*fake_on_yield)(void);
/* What the kernel says to polls of network cards, and the microseconds that it was asked for last. */
extern int32_t fake_busy_poll;
extern uint32_t fake_busy_poll_us;
/* Requests that a restricted ring did not take; the library makes none. */
extern uint32_t fake_refused;
/* Waits that give nothing: mp_ring_wait. */
extern uint32_t fake_waits;
/* Receives that have filled several buffers. */
extern uint32_t fake_bundles;
/* As before 6.18: writes without signal are refused. */
extern bool fake_no_nosignal;
/* As before 6.10: accepts that are to wait before they try are refused. */
extern bool fake_no_accept_wait;
/* Accepts that were tried as soon as they were made, and found nobody. */
extern uint32_t fake_vain_accepts;
extern uint32_t fake_refused_accepts; /* by fake_no_accept_wait */
/* As before 6.2: zero-copy sends that are to say whether they copy are refused. */
extern bool fake_no_report;
/* The memory of zero-copy sends is kept until fake_notify. */
extern bool fake_keeps_notices;
/* Lets the kernel give the memory of the `count` oldest zero-copy sends back, if so many are left. */
void fake_notify(uint32_t count);
/* Zero-copy sends whose memory the kernel has. */
uint32_t fake_notices(void);
/* Completion queues get at most this many entries: 0 for what is asked. */
extern uint32_t fake_cq_entries;
/* Closed direct descriptors are released in order, behind earlier requests, as Linux does up to 6.12. Set before a
 * channel is made. */
extern bool fake_releases_late;

/* The next `count` requests of `opcode` fail with `error` when they are tried. */
void fake_fail(uint8_t opcode, int32_t error, uint32_t count);
/* The next enter answers `error` and takes nothing. */
void fake_fail_enter(int32_t error, uint32_t count);
/* The next posts to a ring fail with `error`; likewise writes to an eventfd. */
void fake_fail_post(int32_t error, uint32_t count);
void fake_fail_notify(int32_t error, uint32_t count);
/* Puts a completion that nobody asked for into the queue. */
void fake_inject(struct mp_ring *ring, uint64_t user_data, int32_t result, uint32_t flags);
/* The thread that enters from now on; 0 at the begin. Its end cancels its requests, some at once, some later. */
void fake_submitter(uint32_t number);
void fake_submitter_ends(uint32_t number);
/* Lets every request that can do so make progress, `rounds` times. */
void fake_run(uint32_t rounds);
/* Lets time pass: the clock stands still but for waits that end with their time. */
void fake_pass(int64_t time_ns);

/* Forgets everything at once, also what a broken channel left; before its memory is freed. */
void fake_abandon(void);

/* fds of the library's process, for mp_register. */
int32_t fake_listen(uint16_t port, bool nonblock);
int32_t fake_pair(bool socket, bool nonblock, uint32_t *peer);
uint32_t fake_fds_open(void);
uint32_t fake_files_open(void);
uint32_t fake_requests_live(void);

/* Peers: the other ends, which belong to the test; file numbers. FAKE_NONE: refused, or nobody there. */
uint32_t fake_peer_connect(uint16_t port, uint16_t from_port);
uint32_t fake_peer_accept(uint16_t port, uint16_t *from_port);
uint32_t fake_peer_send(uint32_t peer, const uint8_t *data, uint32_t bytes);
/* Bytes taken; 0: nothing there; -1: end of stream; -2: reset. */
int32_t fake_peer_receive(uint32_t peer, uint8_t *data, uint32_t bytes);
void fake_peer_shutdown(uint32_t peer);
void fake_peer_reset(uint32_t peer);
void fake_peer_close(uint32_t peer);
bool fake_peer_gone(uint32_t peer);

/* Between the parts of the fake. */
/* Called before the process is ended, where set. A fuzz target lies to the library, so rules may be broken. */
extern void (*fake_on_broken)(void);
_Noreturn void fake_broken(const char *rule, const char *file, int line);
#define FAKE_RULE(rule) ((rule) ? (void)0 : fake_broken(#rule, __FILE__, __LINE__))
bool fake_chance(uint16_t per_mille);
uint32_t fake_below(uint32_t limit);

struct fake_file *fake_file(uint32_t number);
uint32_t fake_file_make(int kind);
void fake_file_hold(uint32_t number);
void fake_file_drop(uint32_t number);
void fake_file_reset(uint32_t number);
void fake_file_shutdown(uint32_t number, uint32_t how);
/* Bytes moved, -EAGAIN when it must wait, or another error. 0: end of stream. */
int32_t fake_file_read(uint32_t number, uint8_t *data, uint32_t bytes);
int32_t fake_file_write(uint32_t number, const uint8_t *data, uint32_t bytes);
/* poll(2)'s answer. */
uint32_t fake_file_ready(uint32_t number);
/* A connection to whoever listens on `port`: the client's file, -ECONNREFUSED or -EAGAIN (queue full). */
int32_t fake_file_connect(uint32_t client, uint16_t port);
/* Who listens on `port`, or FAKE_NONE. */
uint32_t fake_listener(uint16_t port);
/* The file number of `fd`, or FAKE_NONE. */
uint32_t fake_fd_file(int32_t fd);
int32_t fake_fd_make(uint32_t number);
int32_t fake_fd_close(int32_t fd);

void fake_submit(struct fake_ring *ring, const struct io_uring_sqe *sqe);
/* One step of a request; it may be its last. */
void fake_attempt(struct fake_request *request);
void fake_finish(struct fake_request *request, int32_t result, uint32_t flags);
void fake_cancel(struct fake_request *request);
/* A zero-copy send ends with `result`: takes the vectors, where the memory is kept. The flags of its completion. */
uint32_t fake_notice_owe(struct fake_request *request, int32_t result);
void fake_notices_run(void);
void fake_notices_begin(void);
/* Of rings that are gone: nobody asks any more. */
void fake_notices_end(void);
/* Of the first `bytes`. */
uint64_t fake_sum(const struct iovec *vectors, uint32_t count, uint64_t bytes);
/* Of everything that the kernel reads of a write, or may still write of a read. */
uint64_t fake_checksum(const struct fake_request *request);
static inline void *fake_at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}
void fake_requests_end(void);
/* Nothing of an earlier simulation may change the next. */
void fake_requests_begin(void);
void fake_files_begin(void);
void fake_edge_begin(void);
void fake_requests_abandon(void);
void fake_files_abandon(void);
void fake_ring_free(struct fake_ring *ring);
bool fake_room(const struct fake_ring *ring);
void fake_post(struct fake_ring *ring, uint64_t user_data, int32_t result, uint32_t flags);
/* Takes a provided buffer: its number, or -ENOBUFS. */
int32_t fake_buffer_take(struct fake_ring *ring, uint8_t **address, uint32_t *bytes);
bool fake_buffers_left(struct fake_ring *ring);
int32_t fake_fixed_make(struct fake_ring *ring, uint32_t number);
/* Drops the ring's hold on a closed direct descriptor's file, now or later. */
void fake_fixed_release(struct fake_ring *ring, uint32_t number);
void fake_late_settle(struct fake_ring *ring);
/* The most that have waited at a time, since fake_begin. */
extern uint32_t fake_late_most;
/* The error that a test asked for, or 0. */
int32_t fake_failure(uint8_t opcode);

#endif
