/* A rig whose channel runs on the fake kernel, for tests that ask for one thing at a time. */
#ifndef MP_FAKE_KERNEL_RIG_H
#define MP_FAKE_KERNEL_RIG_H

#include "common_rig.h"
#include "fake_kernel.h"

extern struct rig rig;

void begin(void);
/* Checks that nothing is left, in the channel and in the fake. */
void end(void);
/* A registered socket; `peer` is a file number of the fake. */
struct rig_link pair(bool nonblock);
void unlink_pair(struct rig_link *link);
/* The peer sends `text`. */
void say(const struct rig_link *link, const char *text);

#endif
