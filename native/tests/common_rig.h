/* A channel with an inbox, and loopback peers for it: tests ask for the event they expect, whatever order the kernel
 * chose for the others. */
#ifndef MP_COMMON_RIG_H
#define MP_COMMON_RIG_H

#include <stdint.h>
#include <sys/socket.h>

#include "common_test.h"
#include "megapipe.h"
#include "testing.h"

#define RIG_INBOX 1024u
#define RIG_WAIT_NS 30000000000 /* far beyond anything that is not a hang, in an emulator too */

struct rig {
	struct mp_channel *channel;
	struct mp_event kept[RIG_INBOX]; /* dispatched, not asked for yet; oldest first */
	uint32_t kept_count;
};

struct rig_listener {
	int32_t fd;
	mp_handle handle;
	struct sockaddr_storage address;
	socklen_t bytes;
};

struct rig_link {
	mp_handle handle; /* this end, in the channel */
	int32_t peer;     /* the other end, a blocking socket of the test */
	uint32_t flags;   /* of the ACCEPT event */
};

/* Whether this kernel has MP_FEATURE_*: a test that stands on one says so, and skips or expects less without it. */
int kernel_has(uint32_t feature);

/* A small channel: 128 handles, 16 buffers of 1024 bytes, flags as given. */
struct mp_config rig_config(uint32_t flags);
void rig_open(struct rig *rig, const struct mp_config *config);
/* Checks that nothing is in flight, leased or registered, and that every event was asked for; destroys. */
void rig_close(struct rig *rig);

/* The next event of `stage`, of `handle` unless that is 0. Fails when none comes. */
struct mp_event rig_take(struct rig *rig, mp_handle handle, uint32_t stage);
/* Lets the channel work once without waiting; events go to the inbox. */
void rig_turn(struct rig *rig);
/* Checks that the channel has no event, kept or new. */
void rig_nothing(struct rig *rig);
struct mp_counters rig_counters(const struct rig *rig);

/* A listening socket of `family` (AF_INET, AF_INET6, AF_UNIX) on loopback and its address. */
int32_t listen_fd(int family, int type_flags, struct sockaddr_storage *address, socklen_t *bytes);
/* A blocking socket connected to `address`. */
int32_t connect_fd(const struct sockaddr_storage *address, socklen_t bytes);

struct rig_listener rig_listen(struct rig *rig, int family, uint64_t cookie);
/* Unregisters the listener (its accepts must have ended) and closes its fd. */
void rig_unlisten(struct rig *rig, struct rig_listener *listener);
/* One connection, accepted with `accept_flags`. */
struct rig_link rig_connect(struct rig *rig, const struct rig_listener *listener, uint32_t accept_flags);
/* The same with a listener of its own. */
struct rig_link rig_link(struct rig *rig, int family, uint32_t accept_flags);
/* A socketpair: one end registered, the other the peer. `fd` gets the registered end. */
struct rig_link rig_pair(struct rig *rig, int32_t *fd);
/* Closes this end with `close_flags` and waits for RETIRED; closes the peer. */
void rig_unlink(struct rig *rig, struct rig_link *link, uint32_t close_flags);

/* mp_write and its event. */
void rig_write(struct rig *rig, mp_handle handle, const void *data, uint32_t bytes);
/* Reads exactly `bytes` with mp_read. */
void rig_read(struct rig *rig, mp_handle handle, void *data, uint32_t bytes);
/* Takes leased data until `bytes` came, and gives the leases back. A leased read must be on. */
void rig_leased(struct rig *rig, mp_handle handle, void *data, uint32_t bytes);

/* Blocking, complete, on the peer's side. */
void send_all(int32_t fd, const void *data, uint32_t bytes);
void receive_all(int32_t fd, void *data, uint32_t bytes);
/* recv's result for one byte: 0 at end of stream, -errno. */
int32_t receive_end(int32_t fd);

/* Bytes that depend on their position, so that loss, doubling and reordering show. */
void fill_pattern(uint8_t *data, uint32_t bytes, uint64_t position);
int pattern_is(const uint8_t *data, uint32_t bytes, uint64_t position);

#endif
