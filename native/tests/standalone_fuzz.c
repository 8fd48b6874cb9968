/* Runs a fuzz target without libFuzzer: the files named, or random inputs from a seed until the time is over. Takes
 * libFuzzer's -seed= and -max_total_time=, so that `make fuzz` need not know which of the two it runs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_INPUT_BYTES 4096u /* libFuzzer's default -max_len */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* xorshift64*: the same inputs for the same seed everywhere. */
static uint64_t next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717u;
}

static int replay(const char *path)
{
	static uint8_t input[1u << 20];
	FILE *file = fopen(path, "rb");
	size_t bytes;

	if (!file) {
		perror(path);
		return 1;
	}
	bytes = fread(input, 1, sizeof input, file);
	fclose(file);
	LLVMFuzzerTestOneInput(input, bytes);
	return 0;
}

int main(int argc, char **argv)
{
	static uint8_t input[MAX_INPUT_BYTES];
	uint64_t state, seed = 1, runs = 0;
	time_t seconds = 10, end;
	int files = 0;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "-seed=", 6))
			seed = strtoull(argv[i] + 6, NULL, 0);
		else if (!strncmp(argv[i], "-max_total_time=", 16))
			seconds = strtol(argv[i] + 16, NULL, 0);
		else if (argv[i][0] != '-' && ++files && replay(argv[i]))
			return 1;
	}
	if (files)
		return 0;
	state = seed ? seed : 1;
	end = time(NULL) + seconds;
	while (time(NULL) < end) {
		size_t bytes = (size_t)(next(&state) % (MAX_INPUT_BYTES + 1));

		for (size_t i = 0; i < bytes; i++)
			input[i] = (uint8_t)(next(&state) >> 32);
		LLVMFuzzerTestOneInput(input, bytes);
		runs++;
	}
	printf("%llu runs, seed %llu\n", (unsigned long long)runs, (unsigned long long)seed);
	return 0;
}
