/* A rig whose channel runs on the fake kernel. */
#define _GNU_SOURCE
#include "fake_kernel_rig.h"

#include <string.h>

struct rig rig;

void begin(void)
{
	fake_begin(1, NULL);
	rig_open(&rig, NULL);
}

void end(void)
{
	rig_close(&rig);
	fake_end();
}

struct rig_link pair(bool nonblock)
{
	struct rig_link link = { .peer = -1 };
	uint32_t peer;

	link.handle = mp_register(rig.channel, fake_pair(true, nonblock, &peer), 0, 0, 0);
	CHECK(link.handle > 0);
	link.peer = (int32_t)peer;
	return link;
}

void unlink_pair(struct rig_link *link)
{
	int32_t peer = link->peer;

	link->peer = -1;
	rig_unlink(&rig, link, 0);
	fake_peer_close((uint32_t)peer);
}

void say(const struct rig_link *link, const char *text)
{
	CHECK_EQUAL(strlen(text), fake_peer_send((uint32_t)link->peer, (const uint8_t *)text, (uint32_t)strlen(text)));
}
