/* Response recognition: see common_response.h. */
#define _GNU_SOURCE
#include "common_response.h"

#include <string.h>
#include <strings.h>

#define CHUNK_BYTES_LIMIT (1ull << 40) /* a larger size is a misread stream, not a chunk */

void response_reset(struct response *response, const struct response_format *format)
{
	bool rpc = format->message_bytes > 0 && !format->websocket;

	response->state = rpc ? RESPONSE_BODY : RESPONSE_STATUS;
	response->remaining = rpc ? format->message_bytes : 0;
	response->echoed = 0;
	response->accepted = false;
	response->status = 0;
	response->line_bytes = 0;
	response->has_length = false;
	response->chunked = false;
	response->closes = false;
}

static enum response_outcome complete(struct response *response)
{
	response->state = RESPONSE_STATUS;
	return response->status >= 200 && response->status < 300 ? RESPONSE_GOOD : RESPONSE_BAD;
}

static bool read_status(struct response *response, const char *line, uint64_t bytes)
{
	if (bytes < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
		return false;
	for (uint32_t i = 9; i < 12; i++)
		if (line[i] < '0' || line[i] > '9')
			return false;
	response->status =
		(uint32_t)(line[9] - '0') * 100u + (uint32_t)(line[10] - '0') * 10u + (uint32_t)(line[11] - '0');
	response->remaining = 0;
	response->has_length = false;
	response->chunked = false;
	response->closes = line[7] == '0';
	response->state = RESPONSE_HEADERS;
	return true;
}

/* The value of header `name` when `line` is that header; otherwise NULL. */
static const char *header_value(const char *line, uint64_t bytes, const char *name, uint64_t name_bytes)
{
	if (bytes <= name_bytes || line[name_bytes] != ':' || strncasecmp(line, name, name_bytes) != 0)
		return NULL;
	return line + name_bytes + 1;
}

static void read_header(struct response *response, const char *line, uint64_t bytes)
{
	const char *end = line + bytes, *value;

	if (strchr("CcTtSs", *line) == NULL)
		return;
	if ((value = header_value(line, bytes, "Content-Length", 14)) != NULL) {
		response->has_length = true;
		while (value < end && (*value < '0' || *value > '9'))
			value++;
		while (value < end && *value >= '0' && *value <= '9')
			response->remaining = response->remaining * 10u + (uint64_t)(*value++ - '0');
	} else if ((value = header_value(line, bytes, "Transfer-Encoding", 17)) != NULL) {
		response->chunked = memmem(value, (size_t)(end - value), "chunked", 7) != NULL;
	} else if ((value = header_value(line, bytes, "Connection", 10)) != NULL) {
		response->closes |= memmem(value, (size_t)(end - value), "close", 5) != NULL;
	} else if ((value = header_value(line, bytes, "Sec-WebSocket-Accept", 20)) != NULL) {
		response->accepted = memmem(value, (size_t)(end - value), WEBSOCKET_ACCEPT, 28) != NULL;
	}
}

/* After the empty line that ends the headers. */
static enum response_outcome begin_body(struct response *response, const struct response_format *format)
{
	if (format->websocket) {
		response->state = RESPONSE_FRAMES;
		return response->status == 101 && response->accepted ? RESPONSE_GOOD : RESPONSE_BROKEN;
	}
	if (response->status < 200) { /* an interim response: the real one follows */
		response->state = RESPONSE_STATUS;
		return RESPONSE_MORE;
	}
	if (format->no_body || response->status == 204 || response->status == 304)
		return complete(response);
	if (response->chunked)
		response->state = RESPONSE_CHUNK_SIZE;
	else if (!response->has_length)
		response->state = RESPONSE_BODY_TO_END;
	else if (response->remaining == 0)
		return complete(response);
	else
		response->state = RESPONSE_BODY;
	return RESPONSE_MORE;
}

static enum response_outcome read_chunk_size(struct response *response, const char *line, uint64_t bytes)
{
	uint64_t size = 0, digits = 0;

	for (; digits < bytes; digits++) {
		char c = line[digits];
		uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') :
				 c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10u :
				 c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10u :
							16u;

		if (digit == 16u)
			break;
		size = size * 16u + digit;
		if (size > CHUNK_BYTES_LIMIT)
			return RESPONSE_BROKEN;
	}
	if (digits == 0)
		return RESPONSE_BROKEN;
	response->remaining = size;
	response->state = size > 0 ? RESPONSE_CHUNK_DATA : RESPONSE_TRAILERS;
	return RESPONSE_MORE;
}

/* `bytes` do not count the line's end. */
static enum response_outcome read_line(struct response *response, const struct response_format *format,
				       const char *line, uint64_t bytes)
{
	switch (response->state) {
	case RESPONSE_STATUS:
		return read_status(response, line, bytes) ? RESPONSE_MORE : RESPONSE_BROKEN;
	case RESPONSE_HEADERS:
		if (bytes == 0)
			return begin_body(response, format);
		read_header(response, line, bytes);
		return RESPONSE_MORE;
	case RESPONSE_CHUNK_SIZE:
		return read_chunk_size(response, line, bytes);
	case RESPONSE_CHUNK_END:
		response->state = RESPONSE_CHUNK_SIZE;
		return bytes == 0 ? RESPONSE_MORE : RESPONSE_BROKEN;
	default: /* RESPONSE_TRAILERS */
		return bytes == 0 ? complete(response) : RESPONSE_MORE;
	}
}

/* Joins a line from its pieces. *line is NULL while its end has not come. */
static uint64_t take_line(struct response *response, const char *data, uint64_t bytes, const char **line,
			  uint64_t *line_bytes)
{
	const char *newline = memchr(data, '\n', bytes);
	uint64_t piece = newline != NULL ? (uint64_t)(newline - data) : bytes;

	*line = data;
	*line_bytes = piece;
	if (response->line_bytes > 0 || newline == NULL) {
		uint64_t room = RESPONSE_LINE_BYTES - response->line_bytes, kept = piece < room ? piece : room;

		memcpy(response->line + response->line_bytes, data, kept);
		response->line_bytes += (uint32_t)kept;
		*line = response->line;
		*line_bytes = response->line_bytes;
	}
	if (newline == NULL) {
		*line = NULL;
		return bytes;
	}
	if (*line_bytes > 0 && (*line)[*line_bytes - 1] == '\r')
		--*line_bytes;
	response->line_bytes = 0;
	return piece + 1;
}

static enum response_outcome feed_http(struct response *response, const struct response_format *format,
				       const char *data, uint64_t bytes, uint64_t *taken)
{
	uint64_t at = 0;

	while (at < bytes) {
		enum response_outcome outcome = RESPONSE_MORE;
		uint64_t left = bytes - at;

		if (response->state == RESPONSE_BODY_TO_END) {
			at = bytes;
		} else if (response->state == RESPONSE_BODY || response->state == RESPONSE_CHUNK_DATA) {
			uint64_t piece = left < response->remaining ? left : response->remaining;

			at += piece;
			response->remaining -= piece;
			if (response->remaining == 0 && response->state == RESPONSE_BODY)
				outcome = complete(response);
			else if (response->remaining == 0)
				response->state = RESPONSE_CHUNK_END;
		} else {
			const char *line;
			uint64_t line_bytes;

			at += take_line(response, data + at, left, &line, &line_bytes);
			if (line != NULL)
				outcome = read_line(response, format, line, line_bytes);
		}
		if (outcome != RESPONSE_MORE) {
			*taken = at;
			return outcome;
		}
	}
	*taken = at;
	return RESPONSE_MORE;
}

static enum response_outcome feed_rpc(struct response *response, const struct response_format *format, const char *data,
				      uint64_t bytes, uint64_t *taken)
{
	uint64_t piece = bytes < response->remaining ? bytes : response->remaining;
	bool good = data[0] == RPC_RESPONSE_BYTE && data[piece - 1] == RPC_RESPONSE_BYTE;

	*taken = piece;
	response->remaining -= piece;
	if (response->remaining > 0)
		return good ? RESPONSE_MORE : RESPONSE_BROKEN;
	response->remaining = format->message_bytes;
	return good ? RESPONSE_GOOD : RESPONSE_BAD;
}

/* The echo of one message; `line` holds the header of the frame that arrives. */
static enum response_outcome feed_frames(struct response *response, const struct response_format *format,
					 const char *data, uint64_t bytes, uint64_t *taken)
{
	const uint8_t *header = (const uint8_t *)response->line;
	uint64_t at = 0;

	while (at < bytes) {
		if (response->remaining == 0) {
			response->line[response->line_bytes++] = data[at++];
			uint32_t length = header[1] & 0x7f;

			if (response->line_bytes < 2 || (length == 126 && response->line_bytes < 4))
				continue;
			if (length == 127 || (header[1] & 0x80) != 0 || (header[0] & 0x0f) > 2)
				return RESPONSE_BROKEN; /* longer than any message here, masked, or no data */
			response->remaining = length == 126 ? (uint64_t)header[2] << 8 | header[3] : length;
			response->echoed += response->remaining;
			if (response->remaining > 0)
				continue;
		}
		uint64_t piece = bytes - at < response->remaining ? bytes - at : response->remaining;

		at += piece;
		response->remaining -= piece;
		if (response->remaining > 0)
			break;
		response->line_bytes = 0;
		if ((header[0] & 0x80) != 0) { /* the message's last frame */
			bool good = response->echoed == format->message_bytes;

			response->echoed = 0;
			*taken = at;
			return good ? RESPONSE_GOOD : RESPONSE_BAD;
		}
	}
	*taken = at;
	return RESPONSE_MORE;
}

enum response_outcome response_feed(struct response *response, const struct response_format *format, const char *data,
				    uint64_t bytes, uint64_t *taken)
{
	if (response->state == RESPONSE_FRAMES)
		return feed_frames(response, format, data, bytes, taken);
	if (format->message_bytes > 0 && !format->websocket)
		return feed_rpc(response, format, data, bytes, taken);
	return feed_http(response, format, data, bytes, taken);
}

enum response_outcome response_end(const struct response *response, const struct response_format *format)
{
	if (response->state == RESPONSE_FRAMES)
		return response->line_bytes == 0 && response->echoed == 0 ? RESPONSE_MORE : RESPONSE_BROKEN;
	if (format->message_bytes > 0 && !format->websocket)
		return response->remaining == format->message_bytes ? RESPONSE_MORE : RESPONSE_BROKEN;
	if (response->state == RESPONSE_BODY_TO_END)
		return response->status >= 200 && response->status < 300 ? RESPONSE_GOOD : RESPONSE_BAD;
	return response->state == RESPONSE_STATUS && response->line_bytes == 0 ? RESPONSE_MORE : RESPONSE_BROKEN;
}
