/* The RPC server of the MegaPipe paper's microbenchmark: a request of a fixed size is answered by a response of the
 * same size, until the client closes. Two implementations with the same accounting, so that only the
 * programming interface differs. */
#ifndef BENCH_COMMON_RPC_H
#define BENCH_COMMON_RPC_H

#include <stdbool.h>
#include <stdint.h>

#define RPC_BLOCK_BYTES (1u << 20) /* of response bytes, ready to be sent: as much as one write can be asked for */

enum rpc_variant { RPC_EPOLL_SHARED, RPC_EPOLL_REUSEPORT, RPC_MEGAPIPE, RPC_NO_VARIANT };

struct rpc_config {
	enum rpc_variant variant;
	uint16_t port;
	uint32_t message_bytes;
	uint32_t cores;
	/* megapipe only */
	bool partition;           /* a listener for each channel */
	uint32_t batch_threshold; /* 1: each request goes to the kernel by itself */
	bool lwsocket;
	bool leased;
	bool single_thread;
};

/* One server thread. */
struct rpc_thread {
	const struct rpc_config *config;
	uint32_t index;
	uint32_t cpu;        /* it is pinned to this one */
	int32_t listener;    /* shared or own, by variant; for partitions the bound socket to register */
	uint64_t cpu_mask;   /* of all server threads */
	const char *block;   /* RPC_BLOCK_BYTES of response */
	void (*ready)(void); /* called when the thread can serve, and after its last event; waits for all threads */
	void *channel;       /* struct mp_channel *, once ready; NULL for epoll */
};

/* Connections that any server queues. */
#define RPC_BACKLOG 4096

/* A bound IPv4 socket on every address; listening unless `backlog` is 0. */
int32_t rpc_bind(uint16_t port, bool reuse_port, int32_t backlog);

/* Thread bodies, pinned by the caller. The epoll one never returns; the other one does after rpc_megapipe_stop. */
void rpc_epoll_run(struct rpc_thread *thread);
void rpc_megapipe_run(struct rpc_thread *thread);
/* Any thread. */
void rpc_megapipe_stop(struct rpc_thread *threads, uint32_t count);

/* Takes `bytes` more of a connection's requests; the response bytes that this makes due. `*received` keeps the rest. */
static inline uint64_t rpc_due_bytes(const struct rpc_config *config, uint32_t *received, uint64_t bytes)
{
	uint64_t total = *received + bytes, rest = total % config->message_bytes;

	*received = (uint32_t)rest;
	return total - rest;
}

#endif
