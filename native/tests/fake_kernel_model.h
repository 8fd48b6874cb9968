/* What a schedule knows of its connections, and therefore what the library must say of them. */
#ifndef MP_FAKE_KERNEL_MODEL_H
#define MP_FAKE_KERNEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common_rig.h"
#include "fake_kernel.h"
#include "megapipe.h"

#define CHANNELS 2u
#define CONNS 24u
#define HELD 64u
#define SENT 2048u

struct conn {
	enum { UNUSED, WAITING, OPEN, CLOSING, MOVING, DEAD } state;
	uint32_t channel;
	mp_handle handle; /* 0 while it has none */
	mp_handle given;  /* on its way: the handle it had */
	uint32_t given_channel;
	uint32_t peer; /* FAKE_NONE: unknown, or closed */
	uint16_t port; /* the client's; 0: not known yet */
	int32_t fd;    /* registered by the test, -1 otherwise */
	bool keep_fd;  /* closing leaves it open */
	bool connecting, failed;
	enum { NOT_READING, READING_ONCE, READING_LEASED } reading;
	bool one, now; /* mp_read_one, mp_read_now */
	bool pausing;
	uint8_t *read_buffer;
	uint32_t read_bytes;
	uint8_t *write_buffer;
	struct iovec *vectors;
	uint64_t memory; /* of a zero-copy write; 0: a plain one */
	uint32_t writing;
	uint32_t disconnects;
	uint64_t sent, got;               /* peer to channel */
	uint64_t issued, acked, received; /* channel to peer */
	bool peer_shut, ended;            /* the peer sends no more; the channel has seen that */
	bool no_more_reads, broken, write_broken;
};

/* Memory that an event has left with the kernel. */
struct sent {
	uint64_t memory; /* 0: not in use */
	uint32_t channel, bytes;
	uint8_t *buffer;
};

struct held {
	struct conn *conn;
	uint32_t channel, lease, bytes;
	const uint8_t *data;
	uint64_t position;
};

struct model {
	uint64_t seed, random;
	struct mp_channel *channels[CHANNELS];
	mp_handle listeners[CHANNELS];
	int32_t listener_fds[CHANNELS];
	uint32_t accepts[CHANNELS];
	bool listener_closing[CHANNELS];
	int32_t server_fd; /* where the channels connect to */
	struct conn conns[CONNS];
	struct held held[HELD];
	uint32_t held_count;
	struct sent sent[SENT];
	uint64_t last_memory;
	uint32_t sent_count;
	struct {
		uint32_t peer;
		uint16_t port;
	} parked[CONNS * 32]; /* accepted by the test, not matched with their connection yet */
	uint32_t parked_count;
	uint16_t next_port;
	bool threads_end;
	bool only_sockets; /* the channels are of MP_CONFIG_SOCKETS */
	uint64_t events, bytes, retired, totals[2];
};

extern struct model model;

_Noreturn void model_complain(const char *what);
#define MUST(rule) ((rule) ? (void)0 : model_complain(#rule))

void model_print(void);
void model_begin(uint64_t seed);
void model_open(struct mp_config (*draw)(void), bool nonblock);
void model_close_all(void);
void model_destroy(void);
void model_report(void);
/* One step towards the end; false when everything has ended. */
bool model_drain_step(uint32_t round);
void model_event(uint32_t channel, const struct mp_event *event);
void model_release(uint32_t most);
bool model_patterned(const uint8_t *data, uint32_t bytes, uint64_t position);

/* Each does nothing where the connection's state does not allow it, and checks the answer where it does. */
void model_peer_connect(uint32_t channel);
void model_peer_send(struct conn *conn, uint32_t bytes);
void model_peer_receive(struct conn *conn);
void model_peer_shutdown(struct conn *conn);
void model_peer_reset(struct conn *conn);
void model_accept(uint32_t channel, uint32_t count, uint32_t flags);
void model_accept_stop(uint32_t channel);
void model_connect(uint32_t channel, uint32_t flags);
void model_pair(uint32_t channel, bool socket, bool nonblock);
void model_read(struct conn *conn, uint32_t bytes);
void model_read_now(struct conn *conn, uint32_t bytes);
void model_read_start(struct conn *conn);
void model_read_one(struct conn *conn);
void model_pause(struct conn *conn);
void model_write(struct conn *conn, uint32_t bytes, uint32_t vectors);
void model_disconnect(struct conn *conn, uint32_t how);
/* 0: close, 1: abort, 2: unregister. */
void model_close(struct conn *conn, uint32_t how);
void model_transfer(struct conn *conn);
void model_to_fd(struct conn *conn);
/* A connection on its way takes no request. */
void model_disturb(struct conn *conn);
/* After a dispatch that slept and brought nothing: there was nothing that could have been done. */
void model_slept(uint32_t channel);

#endif
