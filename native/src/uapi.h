/* The kernel's io_uring ABI: the system's header, and what is newer than the oldest header we build with (6.1).
 * Each constant carries the kernel that brought it. Nothing here says that the running kernel has it: probe.c tries. */
#ifndef MP_UAPI_H
#define MP_UAPI_H

#include <linux/io_uring.h>

/* Operations are an enum in the kernel's header, so newer ones get names of our own. */
#define MP_OP_FIXED_FD_INSTALL 54 /* 6.8 */

/* 6.9: a wait polls the queues of the network cards whose sockets the ring waits for, before it sleeps. */
#define MP_REGISTER_NAPI 27
struct mp_uapi_napi {
	__u32 busy_poll_us;
	__u8 prefer, operation, pad[2];
	__u64 reserved;
};

#define MP_REGISTER_SEND_MSG_RING 31 /* 6.13: post to a ring without a ring */

/* What one leased read may take before the channel has its turn (a multishot receive's optlen, 6.17): bounds how far a
 * fast sender gets past mp_read_pause, at the price of one request per so many bytes. */
#define MP_LEASED_RUN_BYTES (256u * 1024u)

/* ... and the run of a connection that has not filled a buffer: so many full ones at most. */
#define MP_SHORT_RUN_BUFFERS 16u

#define MP_RECV_BUNDLE (1U << 4) /* 6.10: one receive fills several buffers of the group, in the ring's order */

/* An accept that waits before it tries, and the completion that tells it that more connections wait. */
#ifndef IORING_ACCEPT_POLL_FIRST
#define IORING_ACCEPT_POLL_FIRST (1U << 2) /* 6.10 */
#endif

/* Of a zero-copy send: its notification says whether the kernel has copied all the same. */
#define MP_SEND_ZC_REPORT_USAGE (1U << 3) /* 6.2 */
#define MP_NOTIF_COPIED (1U << 31)        /* 6.2 */

#define MP_RWF_NOSIGNAL 0x100 /* 6.18: no SIGPIPE of a write to a pipe */

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7) /* 6.15 */
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17) /* 6.15 */
#endif

#endif
