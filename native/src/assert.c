/* How a broken rule ends the process. On its own, so that a fuzz target can take its place. */
#include "mp_assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void mp_assert_failed(const char *rule, const char *file, int line)
{
	fprintf(stderr, "megapipe: broken rule: %s (%s:%d)\n", rule, file, line);
	abort();
}
