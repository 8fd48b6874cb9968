/* Flags of struct mp_config for tests of what a channel does on a kernel that can less. No part of the interface; the
 * managed tests pass them too. */
#ifndef MP_TESTING_H
#define MP_TESTING_H

enum {
	/* Act as if this kernel had no fixed-fd install. */
	MP_CONFIG_NO_FD_INSTALL = 1u << 1,
	/* Wake through an eventfd even where the kernel can post a completion directly. */
	MP_CONFIG_WAKE_EVENTFD = 1u << 2,
};

#endif
