/* Two network cards on one wire: loads their driver, gives this system one of them and a namespace the other, which
 * card.c and sample.c enter to be the peer. Run by tests/kernels/run in the booted kernel.
 *
 *   network MODULE... */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "network.h"

static int failed(const char *what)
{
	printf("  %s: %s\n", what, strerror(errno));
	return 1;
}

static int load(const char *module)
{
	int fd = open(module, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		return failed(module);
	return close(fd);
}

static int give_to(const char *name, int space)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
		struct rtattr attribute;
		int32_t space;
	} request = {
		.head = { .nlmsg_len = sizeof request,
			  .nlmsg_type = RTM_NEWLINK,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.link = { .ifi_index = (int)if_nametoindex(name) },
		.attribute = { .rta_len = RTA_LENGTH(sizeof space), .rta_type = IFLA_NET_NS_FD },
		.space = space,
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[256];
	} answer = { .error.error = -EIO };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (send(fd, &request, sizeof request, 0) != sizeof request || recv(fd, &answer, sizeof answer, 0) < 0)
		return failed("netlink");
	errno = -answer.error.error;
	close(fd);
	return errno ? failed(name) : 0;
}

static int up(const char *name, const char *address)
{
	struct ifreq request = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&request.ifr_addr;
	/* Pieces of several packets, which the card joins, do not say from which queue they came: no busy poll then. */
	struct ethtool_value no_joining = { .cmd = ETHTOOL_SFLAGS, .data = 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bad = 0;

	(void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	if (address) {
		request.ifr_data = (void *)&no_joining;
		bad |= ioctl(fd, SIOCETHTOOL, &request);
		in->sin_family = AF_INET;
		(void)inet_pton(AF_INET, address, &in->sin_addr);
		bad |= ioctl(fd, SIOCSIFADDR, &request);
		(void)inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
		bad |= ioctl(fd, SIOCSIFNETMASK, &request);
	}
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	bad |= ioctl(fd, SIOCSIFFLAGS, &request);
	return bad ? failed(name) : close(fd);
}

int main(int argc, char **argv)
{
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there;

	for (int i = 1; i < argc; i++)
		if (load(argv[i]))
			return 1;
	/* A name for the namespace, which keeps it. */
	close(open(PEER_SPACE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	if (unshare(CLONE_NEWNET) || mount("/proc/self/ns/net", PEER_SPACE, NULL, MS_BIND, NULL))
		return failed(PEER_SPACE);
	there = open(PEER_SPACE, O_RDONLY | O_CLOEXEC);
	if (setns(here, CLONE_NEWNET) || give_to("eth1", there) || up("eth0", CARD_ADDRESS))
		return failed("eth0");
	if (setns(there, CLONE_NEWNET) || up("lo", NULL) || up("eth1", PEER_ADDRESS))
		return failed("eth1");
	return 0;
}
