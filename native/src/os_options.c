/* Gives a new socket every option of another one. Not a list of options that somebody thought of: every number that the
 * kernel answers is read from both sockets, and what differs is set. So an option of a later kernel is copied, too, or
 * noticed. What cannot be read at all is not: TCP MD5 keys, IPsec policies, reuseport programs (which belong to the
 * whole group anyway). */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "os_options.h"

/* SO_BUF_LOCK, since Linux 5.14, and its bits: the sizes that somebody has set. */
#define OPTION_BUF_LOCK 72
#define SEND_BUFFER_LOCKED 1
#define RECEIVE_BUFFER_LOCKED 2

/* Longer than any value of a listener; a congestion control's name has 16 bytes. */
#define VALUE_BYTES 128

/* One option may change another (IP_TOS sets SO_PRIORITY, SO_RCVLOWAT the window): the second time all must stay. */
#define PASSES 3

struct value {
	int32_t error;
	socklen_t bytes;
	unsigned char data[VALUE_BYTES];
};

/* Numbers up to `last` of a level, in ascending order, but for those that are the socket's state and no option. */
struct level {
	int32_t level, last;
	const uint8_t *states;
	uint32_t state_count;
};

/* SO_ERROR, SO_REUSEPORT (the caller's), SO_PEERCRED, SO_ATTACH_FILTER (see has_filter), SO_PEERNAME, SO_ACCEPTCONN,
 * SO_PEERSEC, SO_INCOMING_CPU (the caller's), SO_MEMINFO, SO_INCOMING_NAPI_ID, SO_COOKIE, SO_PEERGROUPS,
 * SO_PEERPIDFD (makes a descriptor). */
static const uint8_t socket_states[] = { 4, 15, 17, 26, 28, 30, 31, 49, 55, 56, 57, 59, 77 };
/* IP_PKTOPTIONS, IP_MTU, IP_PROTOCOL (answers the port); the filters of multicast groups take arguments. */
static const uint8_t ip_states[] = { 9, 14, 41, 48, 52 };
/* IPV6_2292PKTOPTIONS, IPV6_MTU, IPV6_FLOWLABEL_MGR, IPV6_PATHMTU; multicast; 64, 65, 68, 69 and 80 are ip6tables'. */
static const uint8_t ipv6_states[] = { 6, 24, 32, 48, 61, 64, 65, 68, 69, 80 };
/* TCP_INFO, TCP_TIMESTAMP, TCP_CC_INFO, TCP_SAVED_SYN, TCP_ZEROCOPY_RECEIVE, TCP_AO_REPAIR. */
static const uint8_t tcp_states[] = { 11, 24, 26, 28, 35, 42 };

/* clang-format off: it takes the braces for a block */
#define LEVEL(number, last_name, table) \
	{ \
		number, last_name, table, sizeof table \
	}
/* clang-format on */

static const struct level levels[] = {
	LEVEL(SOL_SOCKET, 127, socket_states),
	LEVEL(IPPROTO_IP, 63, ip_states), /* 64 and on are iptables' */
	LEVEL(IPPROTO_IPV6, 90, ipv6_states),
	LEVEL(IPPROTO_TCP, 90, tcp_states),
};

static bool is_state(const struct level *level, int32_t name)
{
	return memchr(level->states, name, level->state_count) != NULL;
}

static struct value read_value(int32_t fd, int32_t level, int32_t name)
{
	struct value value = { 0, VALUE_BYTES, { 0 } };

	if (getsockopt(fd, level, name, value.data, &value.bytes)) {
		value.error = errno;
		value.bytes = 0;
		memset(value.data, 0, sizeof value.data);
	}
	return value;
}

static bool same(const struct value *left, const struct value *right)
{
	return left->error == right->error && left->bytes == right->bytes &&
	       !memcmp(left->data, right->data, sizeof left->data);
}

static int32_t read_int(int32_t fd, int32_t name)
{
	int32_t number = 0;
	socklen_t bytes = sizeof number;

	return getsockopt(fd, SOL_SOCKET, name, &number, &bytes) ? 0 : number;
}

/* A program that decides which packets the socket gets: it cannot be read in general, so it is not copied. Asked for
 * its length only. */
static bool has_filter(int32_t fd)
{
	socklen_t instructions = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, NULL, &instructions) || instructions > 0;
}

/* The sizes of buffers that nobody has set follow the system's, and the kernel tunes them as long as they are not set.
 * It answers twice what was asked for. */
static void copy_buffer(int32_t from, int32_t to, int32_t name, int32_t lock)
{
	int32_t bytes;

	if (!(read_int(from, OPTION_BUF_LOCK) & lock) || read_int(from, name) == read_int(to, name))
		return;
	bytes = read_int(from, name) / 2;
	(void)setsockopt(to, SOL_SOCKET, name, &bytes, sizeof bytes);
}

/* Sets what differs. Whether nothing did. */
static bool copy_level(int32_t from, int32_t to, const struct level *level)
{
	bool equal = true;

	for (int32_t name = 1; name <= level->last; name++) {
		struct value wanted, present;

		if (is_state(level, name) || (level->level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF)))
			continue;
		wanted = read_value(from, level->level, name);
		present = read_value(to, level->level, name);
		if (same(&wanted, &present))
			continue;
		equal = false;
		if (!wanted.error)
			(void)setsockopt(to, level->level, name, wanted.data, wanted.bytes);
	}
	return equal;
}

int32_t mp_os_copy_options(int32_t from, int32_t to)
{
	if (has_filter(from))
		return -EOPNOTSUPP;
	for (uint32_t pass = 0; pass < PASSES; pass++) {
		bool equal = true;

		copy_buffer(from, to, SO_SNDBUF, SEND_BUFFER_LOCKED);
		copy_buffer(from, to, SO_RCVBUF, RECEIVE_BUFFER_LOCKED);
		for (uint32_t i = 0; i < sizeof levels / sizeof *levels; i++)
			equal = copy_level(from, to, &levels[i]) && equal;
		if (equal)
			return 0;
	}
	return -EOPNOTSUPP;
}
