/* mp-rpc-server: the RPC server of the MegaPipe paper's microbenchmark in its variants. See `mp-rpc-server --help`. */
#define _GNU_SOURCE
#include <argp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "common_response.h"
#include "common_rpc.h"

#define CORES_LIMIT 64   /* as many as a CPU mask names */
#define DEFAULT_BATCH 32 /* the paper's threshold */

enum { VARIANT = 1, PORT, CORES, MESSAGE, PARTITION, BATCH, LWSOCKET, READ, SINGLE };

static const struct argp_option known[] = {
	{ "variant", VARIANT, "epoll-shared|epoll-reuseport|megapipe", 0, "must be given", 0 },
	{ "port", PORT, "PORT", 0, "must be given", 0 },
	{ "cores", CORES, "N", 0, "server threads, each pinned to a CPU of this process; default 1", 0 },
	{ "message-bytes", MESSAGE, "N", 0, "size of request and response; default 64", 0 },
	{ "partition", PARTITION, "on|off", 0, "megapipe: a listener for each channel, or one for all; default on", 0 },
	{ "batch", BATCH, "on|off|N", 0, "megapipe: requests that go to the kernel together: 32, 1, or N; default on",
	  0 },
	{ "lwsocket", LWSOCKET, "on|off", 0, "megapipe: accept lightweight sockets; default on", 0 },
	{ "read", READ, "leased|plain", 0, "megapipe: default leased", 0 },
	{ "single-thread", SINGLE, "on|off", 0, "megapipe: one thread for the channel's life; default off", 0 },
	{ NULL, 0, NULL, 0, NULL, 0 },
};

static const char notes[] =
	"\vPrints 'ready' when it serves. Ends on SIGINT or SIGTERM, with the channels' counters on stderr.";

/* Of all server threads and main: when they serve, and when channels may be destroyed. */
static pthread_barrier_t meeting;

static error_t take_option(int option, char *value, struct argp_state *state)
{
	struct rpc_config *config = state->input;
	static const char *const variants[] = { "epoll-shared", "epoll-reuseport", "megapipe", NULL };
	static const char *const reads[] = { "plain", "leased", NULL };

	switch (option) {
	case VARIANT:
		config->variant = (enum rpc_variant)parse_choice("--variant", value, variants);
		break;
	case PORT:
		config->port = (uint16_t)parse_integer("--port", value, 1, 65535);
		break;
	case CORES:
		config->cores = (uint32_t)parse_integer("--cores", value, 1, CORES_LIMIT);
		break;
	case MESSAGE:
		config->message_bytes = (uint32_t)parse_integer("--message-bytes", value, 1, RPC_BLOCK_BYTES);
		break;
	case PARTITION:
		config->partition = parse_switch("--partition", value);
		break;
	case BATCH:
		if (value[0] >= '0' && value[0] <= '9')
			config->batch_threshold = (uint32_t)parse_integer("--batch", value, 1, 4096);
		else
			config->batch_threshold = parse_switch("--batch", value) ? DEFAULT_BATCH : 1;
		break;
	case LWSOCKET:
		config->lwsocket = parse_switch("--lwsocket", value);
		break;
	case READ:
		config->leased = parse_choice("--read", value, reads) == 1;
		break;
	case SINGLE:
		config->single_thread = parse_switch("--single-thread", value);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void meet(void)
{
	pthread_barrier_wait(&meeting);
}

static void *run_thread(void *argument)
{
	struct rpc_thread *thread = argument;

	pin_to_cpu(thread->cpu);
	if (thread->config->variant == RPC_MEGAPIPE)
		rpc_megapipe_run(thread);
	else
		rpc_epoll_run(thread);
	return NULL;
}

/* A socket with SO_REUSEPORT would silently share its port, and the measurement, with another process. */
static void check_port_is_free(uint16_t port)
{
	close(rpc_bind(port, false, 0));
}

static void start_threads(const struct rpc_config *config, struct rpc_thread *threads, pthread_t *ids,
			  const char *block)
{
	bool partition = config->variant == RPC_EPOLL_REUSEPORT ||
			 (config->variant == RPC_MEGAPIPE && config->partition);
	/* mp_register listens on partitions of its own. */
	int32_t backlog = config->variant == RPC_MEGAPIPE && config->partition ? 0 : RPC_BACKLOG, shared = -1;
	uint64_t mask = 0;

	check_port_is_free(config->port);
	if (!partition || config->variant == RPC_MEGAPIPE)
		shared = rpc_bind(config->port, partition, backlog);
	for (uint32_t i = 0; i < config->cores; i++) {
		threads[i] = (struct rpc_thread){ .config = config, .index = i, .block = block, .ready = meet };
		threads[i].cpu = usable_cpu(i);
		threads[i].listener = shared >= 0 ? shared : rpc_bind(config->port, true, backlog);
		mask |= 1ull << (threads[i].cpu % 64u);
	}
	for (uint32_t i = 0; i < config->cores; i++) {
		int32_t error;

		threads[i].cpu_mask = mask;
		error = pthread_create(&ids[i], NULL, run_thread, &threads[i]);
		if (error != 0)
			fail("pthread_create: %s", strerror(error));
	}
}

int main(int argc, char **argv)
{
	static struct rpc_thread threads[CORES_LIMIT];
	static pthread_t ids[CORES_LIMIT];
	struct rpc_config config = { .variant = RPC_NO_VARIANT,
				     .message_bytes = 64,
				     .cores = 1,
				     .partition = true,
				     .batch_threshold = DEFAULT_BATCH,
				     .lwsocket = true,
				     .leased = true };
	static const struct argp parser = { known, take_option, NULL, notes, NULL, NULL, NULL };
	char *block = allocate(1, RPC_BLOCK_BYTES);
	sigset_t signals;
	int32_t got;

	argp_err_exit_status = 2;
	argp_parse(&parser, argc, argv, 0, NULL, &config);
	if (config.variant == RPC_NO_VARIANT || config.port == 0)
		fail("%s is missing", config.port == 0 ? "--port" : "--variant");
	memset(block, RPC_RESPONSE_BYTE, RPC_BLOCK_BYTES);
	raise_file_limit();

	/* Server threads inherit the mask: only main takes these signals. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	pthread_barrier_init(&meeting, NULL, config.cores + 1);
	start_threads(&config, threads, ids, block);
	meet();
	puts("ready");
	fflush(stdout);
	sigwait(&signals, &got);
	if (config.variant == RPC_MEGAPIPE) {
		rpc_megapipe_stop(threads, config.cores);
		meet();
		for (uint32_t i = 0; i < config.cores; i++)
			pthread_join(ids[i], NULL);
	}
	free(block);
	return 0;
}
