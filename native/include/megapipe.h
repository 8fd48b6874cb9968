/* MegaPipe: per-core channels, lightweight sockets and batched I/O, after Han, Marshall, Chun and Ratnasamy,
 * "MegaPipe: A New Programming Interface for Scalable Network I/O" (OSDI 2012), on Linux io_uring.
 *
 * A channel is driven by one thread at a time, its carrier: every function that takes a channel must be called by
 * the carrier, except those marked "any thread". The carrier may change between two calls; the caller orders the
 * two threads (a mutex, a compare-and-swap). Requests stay armed when the carrier changes, and when the thread that
 * made them ends: the kernel cancels those, at the latest when they could go on, and the channel makes them again. Only
 * an mp_disconnect or mp_transfer that was made just before its thread ended may report -ECANCELED: ask again.
 *
 * Requests only fill a queue. They reach the kernel as one batch: when `batch_threshold` requests are pending, when
 * mp_dispatch finds no completion to return, or on mp_flush (paper §4.1). Each request brings exactly one event,
 * except a leased read, which brings one for every piece of data, mp_accept with MP_ACCEPT_KEEP, and mp_write_held.
 *
 * Ownership: memory passed to a request belongs to the kernel until the request's event was returned by
 * mp_dispatch. Cancelling does not give it back sooner.
 *
 * Errors: functions return >= 0, or a negative errno value; an event's `result` likewise. Misuse (a second carrier
 * inside a call, releasing a lease twice) aborts the process. Times are in nanoseconds, sizes in bytes.
 */
#ifndef MEGAPIPE_H
#define MEGAPIPE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MP_API __attribute__((visibility("default")))

/* Raised when a struct or the meaning of a value here changes; mp_abi_version() tells what the library has. */
#define MP_ABI_VERSION 2u

/* The channel: one ring, its handle table, its receive buffers (paper §3.1). */
struct mp_channel;
struct mp_memory;

/* A channel-local number for a listener, a socket or another fd: index and generation; never an fd. Positive.
 * The generation makes a handle that was retired invalid for ever: using it gives -EBADF. */
typedef int64_t mp_handle;

/* What an event belongs to. */
enum {
	MP_STAGE_ACCEPT = 1, /* a connection came to be: accepted, connected (MP_EVENT_CONNECTED) or transferred here */
	MP_STAGE_READ = 2,
	MP_STAGE_WRITE = 3,
	MP_STAGE_CLOSE = 4, /* disconnected, unregistered, or closed: see flags */
};

enum {
	/* More events of the same request will follow. */
	MP_EVENT_MORE = 1u << 0,
	/* `data` is a lease: give it back with mp_release. */
	MP_EVENT_LEASED = 1u << 1,
	/* ACCEPT: this is an mp_connect's end; `handle` is the handle mp_connect returned. */
	MP_EVENT_CONNECTED = 1u << 2,
	/* ACCEPT: the connection came from another channel's mp_transfer. */
	MP_EVENT_TRANSFERRED = 1u << 3,
	/* ACCEPT: the new socket is a lightweight socket. */
	MP_EVENT_LWSOCKET = 1u << 4,
	/* CLOSE: an mp_disconnect is done; the handle lives on. */
	MP_EVENT_DISCONNECTED = 1u << 5,
	/* CLOSE: the handle is retired. Its number is dead, nothing of it is in flight, no event of it will follow. */
	MP_EVENT_RETIRED = 1u << 6,
	/* CLOSE: the handle was given away by mp_transfer. */
	MP_EVENT_GIVEN = 1u << 7,
	/* READ: the peer has ended or reset a connection whose leased read is paused; see mp_read_pause. */
	MP_EVENT_HANGUP = 1u << 8,
	/* READ: the socket held more when these bytes were taken. Never set where the kernel does not say so. */
	MP_EVENT_REST = 1u << 9,
	/* WRITE, of mp_write_held: the memory is still the kernel's; an event with MP_EVENT_RELEASED gives it back. */
	MP_EVENT_HELD = 1u << 10,
	/* WRITE: memory is given back; `data` is what mp_write_held was given. Belongs to no handle: the one that wrote
	 * may be retired. */
	MP_EVENT_RELEASED = 1u << 11,
	/* WRITE, of mp_write_held, in the event that gives the memory back: the bytes have been copied all the same. */
	MP_EVENT_COPIED = 1u << 12,
};

/* One completion (paper §3.1, mp_dispatch). 48 bytes. */
struct mp_event {
	uint64_t cookie;  /* of mp_register, mp_connect or mp_transfer; of the listener for ACCEPT */
	mp_handle handle; /* ACCEPT: the new connection (0 when result < 0); otherwise the request's handle */
	uint64_t data;  /* READ with MP_EVENT_LEASED: address of the bytes; WRITE with MP_EVENT_RELEASED; otherwise 0 */
	int32_t result; /* bytes moved, 0 at end of stream, or -errno */
	uint32_t stage; /* MP_STAGE_* */
	uint32_t flags; /* MP_EVENT_* */
	uint32_t lease; /* READ with MP_EVENT_LEASED: the lease's number; otherwise 0 */
	mp_handle source; /* ACCEPT: the listener's handle (0 for connected and transferred) */
};

enum {
	/* One thread for the channel's life: lets the kernel defer its work (SINGLE_ISSUER and DEFER_TASKRUN, 6.1). */
	MP_CONFIG_SINGLE_THREAD = 1u << 0,
	/* No receive buffers: mp_read only. Bits 1 and 2 are kept for the library's own tests. */
	MP_CONFIG_NO_LEASE = 1u << 3,
	/* Sockets only: mp_register of anything else gives -EACCES. The kernel refuses to read and write files, for the
	 * channel's life. */
	MP_CONFIG_SOCKETS = 1u << 4,
	/* The ring takes every operation of the kernel. Without this flag the kernel refuses, for the channel's life,
	 * the operations that the library never asks for, and every further registration. */
	MP_CONFIG_UNRESTRICTED = 1u << 5,
	/* mp_write_held may do without a copy; otherwise the kernel refuses such sends, and it copies. */
	MP_CONFIG_ZERO_COPY = 1u << 6,
};

/* What a channel is made of. Zero means the default. 40 bytes.
 *
 * `size` lets callers and library be of different age: fields that a smaller struct does not have count as zero, and
 * a larger one is taken where everything that this library does not know is zero; otherwise mp_create gives -E2BIG. */
struct mp_config {
	uint32_t size;            /* sizeof(struct mp_config) of the caller; required */
	uint32_t flags;           /* MP_CONFIG_* */
	uint32_t queue_entries;   /* requests the queue holds before it flushes by itself; default 256, at most 4096 */
	uint32_t max_handles;     /* listeners, sockets and fds at a time; default 16384, at most 1048576 */
	uint32_t buffer_count;    /* receive buffers, a power of two; default 256, at most 32768 */
	uint32_t buffer_bytes;    /* bytes of each; default 4096, at most 1 MiB */
	uint32_t batch_threshold; /* requests that flush by themselves; default 32; 1 turns batching off */
	uint32_t cpu_plus_one;    /* 1 + the CPU this channel stands for (listener masks and steering); 0: none */
	uint32_t max_lwsockets;   /* lightweight sockets at a time; default, upper limit: max_handles, RLIMIT_NOFILE */
	uint32_t busy_poll_us;    /* microseconds for which a wait polls the network cards before it sleeps (Linux 6.9,
				   * which needs one that can be polled); default 0: none; at most 10000 */
};

/* A channel's counters since its creation. Read by any thread; each value is exact, the set is not a snapshot. */
struct mp_counters {
	uint64_t system_calls;    /* io_uring_enter calls */
	uint64_t requests;        /* requests given to the kernel */
	uint64_t events;          /* events returned by mp_dispatch */
	uint64_t dispatches;      /* mp_dispatch calls that returned at least one event */
	uint64_t waits;           /* io_uring_enter calls that could sleep */
	uint64_t wakes;           /* mp_wake calls that had to make a system call */
	uint64_t accepted;        /* connections accepted */
	uint64_t buffers_starved; /* leased reads that found no free buffer */
	uint64_t cq_overflows;    /* times the completion queue overflowed: a defect signal */
	uint64_t stale_events;    /* completions of retired handles, dropped */
	uint64_t rearms;          /* leased reads that the kernel had ended and the channel armed again */
	uint64_t ends_found;      /* ends that a leased read had missed and a poll for them found */
	uint64_t short_writes;    /* writes the kernel did in part and the channel went on with */
	uint64_t transfers;       /* connections given to other channels */
	uint64_t leases_out;      /* receive buffers the caller holds now */
	uint64_t handles_live;    /* handles in use now */
	uint64_t in_flight;       /* requests in the kernel or queued now, the channel's own not counted */
};

/* What this kernel and process allow: bit n of `available`, with a reason in mp_feature_reason when clear. */
enum {
	MP_FEATURE_RING = 0,          /* io_uring with the flags a channel needs; without it nothing works */
	MP_FEATURE_LEASED_READ = 1,   /* multishot receive into a provided-buffer ring (6.0) */
	MP_FEATURE_LWSOCKET = 2,      /* accept into the fixed-file table (5.19) */
	MP_FEATURE_TRANSFER = 3,      /* descriptors over MSG_RING (6.0) */
	MP_FEATURE_SINGLE_THREAD = 4, /* SINGLE_ISSUER and DEFER_TASKRUN (6.1) */
	MP_FEATURE_FD_INSTALL = 5,    /* lightweight socket to fd (6.8) */
	MP_FEATURE_NO_IOWAIT = 6,     /* a waiting ring does not show as iowait (6.15) */
	MP_FEATURE_DIRECT_WAKE = 7,   /* wake without an eventfd (6.13) */
	MP_FEATURE_PROMPT_CLOSE = 8,  /* a closed lightweight socket is released at once (6.13) */
	MP_FEATURE_ZERO_COPY = 9,     /* sends that do not copy, and say so (6.2) */
	MP_FEATURE_BUSY_POLL = 10,    /* waits that poll network cards (6.9) */
	MP_FEATURE_COUNT = 11,
};

#define MP_REASON_BYTES 160

/* mp_probe's answer. */
struct mp_features {
	uint32_t size;      /* sizeof(struct mp_features) of the caller; what it has no room for is left out */
	uint32_t available; /* bit per MP_FEATURE_* */
	char reason[MP_FEATURE_COUNT][MP_REASON_BYTES]; /* why not, and what to do; empty when available */
};

/* Distinct errors of mp_create and mp_probe. This kernel is older than the floor (Linux 6.1). */
#define MP_ERROR_TOO_OLD (-10001)
/* io_uring is denied to this process: seccomp, a security module, or kernel.io_uring_disabled. */
#define MP_ERROR_DENIED (-10002)
/* No memory, and RLIMIT_MEMLOCK, which counts the rings of all the user's processes, may be what is used up. */
#define MP_ERROR_LOCKED_MEMORY (-10003)

/* The library's MP_ABI_VERSION. Any thread. */
MP_API uint32_t mp_abi_version(void);

/* Short English text for a negative return value or event result. Never NULL. Any thread. */
MP_API const char *mp_error_text(int32_t error);

/* The name of feature MP_FEATURE_*, such as "fd_install"; NULL past the last. Any thread. */
MP_API const char *mp_feature_name(uint32_t feature);

/* Tries every mechanism once, with the flags that channels use, and fills `features`. Takes about a millisecond.
 * 0, MP_ERROR_* or -errno, the same as the reason of MP_FEATURE_RING; -EINVAL for an impossible size. Any thread. */
MP_API int32_t mp_probe(struct mp_features *features);

/* Creates a channel (paper: mp_create). `config` may be NULL for the defaults. *channel is NULL on error.
 * -EINVAL for a value out of range, -E2BIG (see struct mp_config), -ENOMEM, -EMFILE, or mp_probe's errors. Memory is
 * touched by the calling thread first: create a channel on the CPU that will run it. */
MP_API int32_t mp_create(const struct mp_config *config, struct mp_channel **channel);

/* Closes every handle (without events), waits until the kernel has given all memory back, frees the channel.
 * Leases die with it (but see mp_hold_memory). Sockets of regular fds that are still registered (not accepted) stay
 * open. For memory of mp_write_held, which may wait for a peer as long as TCP does, it waits five seconds at most: what
 * has not come back by an event before must not be written again, or the peer gets that. To know that all has come,
 * close the handles and dispatch until `in_flight` of mp_read_counters is 0. */
MP_API void mp_destroy(struct mp_channel *channel);

/* Registers `fd` (paper: mp_register): a connected or listening socket, or anything else that can be read or
 * written (pipe, eventfd, timerfd, file). The fd stays the caller's: it must stay open until mp_unregister's event,
 * and remains usable after it. `cookie` comes back in every event.
 *
 * cpu_mask 0 registers the fd itself. For a socket bound with SO_REUSEPORT, a non-zero mask opens this channel's own
 * listener partition of the fd's address: a new socket, which the channel owns and closes (paper §3.2). The bits of
 * the mask name the CPUs (0 to 63) whose channels take part; a channel whose `cpu` is not among them gets -EPERM.
 * Registering the same bound fd on each channel gives each its own accept queue; the fd itself should not listen.
 * `backlog` is the length of that queue in connections, 1 to 2^31 - 1; net.core.somaxconn caps it. Without a mask it
 * is not used.
 * A partition has every option of the fd that can be read (device, mark, TOS, buffer sizes, congestion control, ...);
 * where one cannot be set on a second socket there is no partition: -EOPNOTSUPP.
 *
 * The handle, or -EBADF, -ENFILE (table full), -EINVAL, -EADDRINUSE, -EOPNOTSUPP, -EACCES (MP_CONFIG_SOCKETS). */
MP_API mp_handle mp_register(struct mp_channel *channel, int32_t fd, uint64_t cookie, uint64_t cpu_mask,
			     uint32_t backlog);

/* Cancels what is pending and retires the handle (paper: mp_unregister). A regular fd stays open for the caller; a
 * lightweight socket, an accepted socket and a partition are freed. Event: CLOSE with MP_EVENT_RETIRED, after the
 * last event of every pending request. 0, -EBADF, -EALREADY, -EBUSY (being transferred). */
MP_API int32_t mp_unregister(struct mp_channel *channel, mp_handle handle);

enum {
	/* Accepted sockets get no entry in the process's fd table (paper §3.3). */
	MP_ACCEPT_LWSOCKET = 1u << 0,
	/* After each event, the request is made again by itself, until an error or mp_unregister. */
	MP_ACCEPT_KEEP = 1u << 1,
};

/* Accepts `count` (1 to 64) connections (paper: mp_accept). One ACCEPT event each; `cookie` is the listener's until
 * mp_set_cookie. With MP_ACCEPT_KEEP `count` accepts stay outstanding; an error event without MP_EVENT_MORE means one
 * of them ended and must be made again by the caller. Per event: -EMFILE, -ENFILE (fd limit, lwsocket table or handle
 * table full), -ECONNABORTED and what accept4(2) gives. Returns 0, -EBADF, -EINVAL, -ENOTSUP, -EBUSY (more than 64
 * outstanding, or mp_accept_stop has not ended). */
MP_API int32_t mp_accept(struct mp_channel *channel, mp_handle listener, uint32_t count, uint32_t flags);

/* Cancels every outstanding accept of a listener; each ends with an event (-ECANCELED, or a connection that was
 * just accepted), the last one without MP_EVENT_MORE. 0, -EBADF. */
MP_API int32_t mp_accept_stop(struct mp_channel *channel, mp_handle listener);

/* Connects to `address` (a struct sockaddr of `address_bytes`, copied). Event: ACCEPT with MP_EVENT_CONNECTED; on
 * error the handle stays and is to be closed. flags: MP_ACCEPT_LWSOCKET or 0. The handle, or -errno. */
MP_API mp_handle mp_connect(struct mp_channel *channel, const void *address, uint32_t address_bytes, uint64_t cookie,
			    uint32_t flags);

/* Replaces the cookie of a handle; events already in the kernel bring the new one. 0, -EBADF. */
MP_API int32_t mp_set_cookie(struct mp_channel *channel, mp_handle handle, uint64_t cookie);

/* Copies the peer's address (accept, connect) as a struct sockaddr; at most 128 bytes. The address's size, or 0 when
 * there is none (Unix client without a name) or none is kept (Unix client of a lightweight socket), or -EBADF, or what
 * getpeername(2) says of a registered socket. */
MP_API int32_t mp_peer_address(struct mp_channel *channel, mp_handle handle, void *address, uint32_t capacity);

/* Reads once into the caller's buffer (paper: mp_read). One READ event; 0 is the end of the stream. One read per
 * handle at a time: -EBUSY. 0, -EBADF, -EINVAL, -ENOTSUP. */
MP_API int32_t mp_read(struct mp_channel *channel, mp_handle handle, void *buffer, uint32_t bytes);

/* Reads what a socket holds into the caller's buffer, without waiting for more: one READ event, -EAGAIN when it holds
 * nothing. So the buffer comes back by itself, soon after the next dispatch has begun, whatever the peer does. The
 * memory is still the channel's until the event. When the event has come it is as after mp_read_pause.
 * 0, -EBADF, -EINVAL, -ENOTSUP, -EBUSY. */
MP_API int32_t mp_read_now(struct mp_channel *channel, mp_handle handle, void *buffer, uint32_t bytes);

/* Starts a leased read on a socket: a READ event with MP_EVENT_LEASED for each piece of data, in buffers that the
 * kernel picks from the channel's; an idle handle holds none. MP_EVENT_MORE is clear in the last event: end of stream
 * (0), an error, or mp_read_pause (-ECANCELED). Running out of buffers is no event: reading goes on when leases return.
 * 0, -EBADF, -EBUSY, -ENOTSUP. */
MP_API int32_t mp_read_start(struct mp_channel *channel, mp_handle handle);

/* As mp_read_start, for one piece of data: its event has no MP_EVENT_MORE, and when it has come it is as after
 * mp_read_pause. mp_read_pause stops it, too. For who takes the rest with mp_read_now.
 * 0, -EBADF, -EBUSY, -ENOTSUP. */
MP_API int32_t mp_read_one(struct mp_channel *channel, mp_handle handle);

/* Stops a leased read; data already taken from the socket still arrives, then an event with -ECANCELED (without
 * MP_EVENT_MORE) says that it has stopped; or the end of the stream or an error comes instead. If the peer ends the
 * connection while it has stopped, an event with MP_EVENT_HANGUP says so within a second, once: result 0, or
 * -ECONNRESET after a reset. What the socket still holds, and the end, come when reading goes on.
 * 0, -EBADF, -EALREADY. */
MP_API int32_t mp_read_pause(struct mp_channel *channel, mp_handle handle);

/* Gives a lease back; its memory must not be touched any more. Also after its handle was retired. 0, -EINVAL. */
MP_API int32_t mp_release(struct mp_channel *channel, uint32_t lease);

/* Address of receive buffer `lease` (0 to buffer_count - 1); NULL past the last. Any thread. */
MP_API void *mp_lease_address(struct mp_channel *channel, uint32_t lease);

/* Keeps the memory of the receive buffers as it is beyond mp_destroy, for readers that may still look at leases then;
 * each hold is ended by mp_drop_memory. NULL: the channel has no receive buffers. Any thread. */
MP_API struct mp_memory *mp_hold_memory(struct mp_channel *channel);

/* Ends a hold (NULL: none). When the channel is destroyed and no hold is left, the pages go back to the system. The
 * addresses stay the process's, for its next channels: who reads there too late finds zeros or newer data, and does not
 * die of it. Any thread. */
MP_API void mp_drop_memory(struct mp_memory *memory);

/* Writes all `bytes` (paper: mp_write). One WRITE event: `bytes`, or -errno (some bytes may have gone). -EPIPE brings
 * no signal. One write per handle at a time: -EBUSY. 0, -EBADF, -EINVAL. */
MP_API int32_t mp_write(struct mp_channel *channel, mp_handle handle, const void *buffer, uint32_t bytes);

/* As mp_write, gathered (paper: mp_writev). `vectors` is an array of struct iovec, 1 to 1024; it belongs to the
 * channel, which may change it, until the event. The sum must fit in 31 bits. */
MP_API int32_t mp_writev(struct mp_channel *channel, mp_handle handle, void *vectors, uint32_t count);

/* As mp_writev, from memory that the kernel may send without copying it (MP_CONFIG_ZERO_COPY, Linux 6.2, TCP). The
 * WRITE event says whether the bytes were taken. With MP_EVENT_HELD the memory stays the kernel's after it, until the
 * peer has the bytes or the connection is gone: then a second event comes, WRITE with MP_EVENT_RELEASED and `memory`;
 * after that of a retired handle, too. The next write need not wait for it. MP_EVENT_COPIED in the last event of the
 * two: it was in vain, since the way (loopback), the socket or the kernel copies, or no more memory may be pinned. */
MP_API int32_t mp_write_held(struct mp_channel *channel, mp_handle handle, void *vectors, uint32_t count,
			     uint64_t memory);

enum {
	MP_SHUT_READ = 0,
	MP_SHUT_WRITE = 1,
	MP_SHUT_BOTH = 2,
};

/* Shuts a connection down without closing it (paper: mp_disconnect). Event: CLOSE with MP_EVENT_DISCONNECTED.
 * 0, -EBADF, -EINVAL, -EBUSY (being transferred, or 255 of these under way), -EAGAIN (no memory for a request). */
MP_API int32_t mp_disconnect(struct mp_channel *channel, mp_handle handle, uint32_t how);

enum {
	/* Reset the connection: the peer sees RST, unsent bytes are dropped. Nothing to a listener. */
	MP_CLOSE_ABORT = 1u << 0,
};

/* Closes (paper: mp_close): cancels what is pending (each still brings its event), closes the socket once nothing of
 * it is in flight, retires the handle. Without MP_CLOSE_ABORT the peer gets every byte whose WRITE event came, then
 * FIN; the system decides on RST where received bytes were left unread. A registered regular fd is closed too.
 * Event: CLOSE with MP_EVENT_RETIRED, the handle's last. 0, -EBADF, -EINVAL, -EALREADY, -EBUSY (being transferred). */
MP_API int32_t mp_close(struct mp_channel *channel, mp_handle handle, uint32_t flags);

/* A new fd for the handle's socket, which the caller owns (CLOEXEC). The handle goes on; the connection ends when both
 * are closed (of a lightweight socket before 6.13 perhaps later: shut it down first). Works at once, with a system
 * call. -EBADF, -ENOTSUP (lightweight socket on a kernel before 6.8), -EMFILE. */
MP_API int32_t mp_to_fd(struct mp_channel *channel, mp_handle handle);

/* The fd of a handle that is no lightweight socket; it stays the channel's. -EBADF, -ENOTSUP. */
MP_API int32_t mp_peek_fd(struct mp_channel *channel, mp_handle handle);

/* Local address as getsockname(2) gives it; 0 to 128 bytes. -EBADF, -ENOTSUP (lightweight socket where the kernel
 * cannot tell). Works at once. */
MP_API int32_t mp_local_address(struct mp_channel *channel, mp_handle handle, void *address, uint32_t capacity);

/* Sets an option of the handle's socket, as setsockopt(2) does, at once. A lightweight socket gets an fd for the
 * moment. 0, -EBADF, -ENOTSUP (as above), -EAGAIN (no memory for a request), -EMFILE, or what setsockopt(2) says. */
MP_API int32_t mp_set_option(struct mp_channel *channel, mp_handle handle, int32_t level, int32_t name,
			     const void *value, uint32_t bytes);

/* Gives a connection with nothing in flight to another channel, where it arrives as an ACCEPT event with
 * MP_EVENT_TRANSFERRED and `cookie`. Here: a CLOSE event with MP_EVENT_RETIRED | MP_EVENT_GIVEN, or a negative result
 * with MP_EVENT_GIVEN alone when the target could not take it (the handle stays). The target must outlive the event;
 * until then the handle takes no request (-EBUSY). A target whose handle table is full closes the connection and gets
 * an ACCEPT event with -ENFILE. A registered fd stays the caller's on the target too, and is not closed there by
 * mp_unregister or for want of a handle.
 * 0, -EBADF, -EBUSY (also: too many on their way), -EINVAL, -ENOTSUP, -EAGAIN. */
MP_API int32_t mp_transfer(struct mp_channel *channel, mp_handle handle, struct mp_channel *target, uint64_t cookie);

/* Gives the collected requests to the kernel now, without waiting. The number given, or -errno: those that it did not
 * take go with the next batch. */
MP_API int32_t mp_flush(struct mp_channel *channel);

/* Takes up to `capacity` events (paper: mp_dispatch; here an array). Gives collected requests to the kernel by the
 * batching rules, in the same system call as the wait. Waits up to `timeout_ns` for the first event: 0 does not wait,
 * negative waits without limit. Returns the number of events; 0 after the time-out, a signal, or mp_wake.
 * -errno only when the ring itself is broken; when the kernel has no memory for requests, or for a thread that enters
 * for the first time, dispatch tries again every millisecond. Never calls back; never recursive. */
MP_API int32_t mp_dispatch(struct mp_channel *channel, struct mp_event *events, uint32_t capacity, int64_t timeout_ns);

/* Makes the channel's current or next mp_dispatch return without waiting. Calls between two dispatches count once; a
 * system call is made only when the carrier sleeps. Any thread; the channel must live. */
MP_API void mp_wake(struct mp_channel *channel);

/* How mp_dispatch waits. With `spin_ns` (up to 10 ms) it waits awake for so long before it sleeps, but only while most
 * of the last waits were about as short, nobody else wants this CPU, and fewer than `most_spinners` channels of the
 * process do so. 0, the default: it sleeps at once. 0 or -EINVAL. */
MP_API int32_t mp_set_wait(struct mp_channel *channel, uint32_t spin_ns, uint32_t most_spinners);

/* 1 while the carrier waits awake, 0 otherwise. Any thread. */
MP_API int32_t mp_is_spinning(const struct mp_channel *channel);

/* Copies the counters. Any thread. */
MP_API void mp_read_counters(const struct mp_channel *channel, struct mp_counters *counters);

/* Of the calling thread: nanoseconds of CPU, and how often it gave its CPU up to sleep or wait; being preempted is not
 * counted. For schedulers that charge a handler with what it took. 0 or -errno. */
MP_API int32_t mp_thread_times(uint64_t *cpu_ns, uint64_t *waits);

/* How many more threads this process may start, up to `most`, as far as the limits of its user (RLIMIT_NPROC, which
 * counts everything that the user runs) and of the system go; control groups have limits of their own. Where the user's
 * limit is near, the kernel is asked by way of a child process that lives for a moment. The number or -errno. */
MP_API int32_t mp_thread_room(uint32_t most);

#ifdef __cplusplus
}
#endif

#endif
