/* mp-rpc-server: the RPC server of the MegaPipe paper's microbenchmark in its variants. See `mp-rpc-server --help`. */
#define _GNU_SOURCE
#include <getopt.h>
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

static const char usage[] =
	"usage: mp-rpc-server --variant epoll-shared|epoll-reuseport|megapipe --port PORT [options]\n"
	"\n"
	"  --cores N               server threads, each pinned to a CPU of this process; default 1\n"
	"  --message-bytes N       size of request and response; default 64\n"
	"megapipe:\n"
	"  --partition on|off      a listener for each channel, or one for all; default on\n"
	"  --batch on|off|N        requests that go to the kernel together: 32, 1, or N; default on\n"
	"  --lwsocket on|off       accept lightweight sockets; default on\n"
	"  --read leased|plain     default leased\n"
	"  --single-thread on|off  one thread for the channel's life; default off\n"
	"\n"
	"Prints 'ready' when it serves. Ends on SIGINT or SIGTERM, with the channels' counters on stderr.\n";

enum { VARIANT = 1, PORT, CORES, MESSAGE, PARTITION, BATCH, LWSOCKET, READ, SINGLE, HELP };

static const struct option long_options[] = {
	{ "variant", 1, NULL, VARIANT },
	{ "port", 1, NULL, PORT },
	{ "cores", 1, NULL, CORES },
	{ "message-bytes", 1, NULL, MESSAGE },
	{ "partition", 1, NULL, PARTITION },
	{ "batch", 1, NULL, BATCH },
	{ "lwsocket", 1, NULL, LWSOCKET },
	{ "read", 1, NULL, READ },
	{ "single-thread", 1, NULL, SINGLE },
	{ "help", 0, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

/* Of all server threads and main: when they serve, and when channels may be destroyed. */
static pthread_barrier_t meeting;

static void take_option(struct rpc_config *config, int32_t option)
{
	static const char *const variants[] = { "epoll-shared", "epoll-reuseport", "megapipe", NULL };
	static const char *const reads[] = { "plain", "leased", NULL };

	switch (option) {
	case VARIANT:
		config->variant = (enum rpc_variant)parse_choice("--variant", optarg, variants);
		break;
	case PORT:
		config->port = (uint16_t)parse_integer("--port", optarg, 1, 65535);
		break;
	case CORES:
		config->cores = (uint32_t)parse_integer("--cores", optarg, 1, CORES_LIMIT);
		break;
	case MESSAGE:
		config->message_bytes = (uint32_t)parse_integer("--message-bytes", optarg, 1, RPC_BLOCK_BYTES);
		break;
	case PARTITION:
		config->partition = parse_switch("--partition", optarg);
		break;
	case BATCH:
		if (optarg[0] >= '0' && optarg[0] <= '9')
			config->batch_threshold = (uint32_t)parse_integer("--batch", optarg, 1, 4096);
		else
			config->batch_threshold = parse_switch("--batch", optarg) ? DEFAULT_BATCH : 1;
		break;
	case LWSOCKET:
		config->lwsocket = parse_switch("--lwsocket", optarg);
		break;
	case READ:
		config->leased = parse_choice("--read", optarg, reads) == 1;
		break;
	case SINGLE:
		config->single_thread = parse_switch("--single-thread", optarg);
		break;
	case HELP:
		fputs(usage, stdout);
		exit(0);
	default:
		exit(2); /* getopt has said what is wrong */
	}
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

/* A socket with SO_REUSEPORT would share a port with another process in silence, and the measurement with it. */
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
	struct rpc_config config = { .message_bytes = 64,
				     .cores = 1,
				     .partition = true,
				     .batch_threshold = DEFAULT_BATCH,
				     .lwsocket = true,
				     .leased = true };
	bool variant_given = false;
	char *block = allocate(1, RPC_BLOCK_BYTES);
	sigset_t signals;
	int32_t got;

	for (int32_t option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		variant_given |= option == VARIANT;
		take_option(&config, option);
	}
	if (optind < argc)
		fail("do not know what '%s' means here", argv[optind]);
	if (!variant_given || config.port == 0)
		fail("%s is missing", variant_given ? "--port" : "--variant");
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
