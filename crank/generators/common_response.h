/* Recognises where a response ends in a byte stream: HTTP/1.1 (Content-Length, chunked, until the end of the stream),
 * messages of a fixed size (the RPC protocol), or WebSocket messages behind their handshake (RFC 6455). Takes the
 * stream in pieces of any size and never looks back. */
#ifndef BENCH_COMMON_RESPONSE_H
#define BENCH_COMMON_RESPONSE_H

#include <stdbool.h>
#include <stdint.h>

/* Enough for every line we look into; what is longer is cut, since only its start matters. */
#define RESPONSE_LINE_BYTES 120u

/* Every byte of an RPC request and of its response. A wrong byte shows that client and server disagree on the size. */
#define RPC_REQUEST_BYTE 'Q'
#define RPC_RESPONSE_BYTE 'R'

/* The key of a handshake and its answer, of RFC 6455, section 1.3. */
#define WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct response_format {
	uint32_t message_bytes; /* size of an RPC or WebSocket message; 0 for HTTP */
	bool websocket;
	bool no_body; /* answers to HEAD */
};

enum response_state {
	RESPONSE_STATUS,
	RESPONSE_HEADERS,
	RESPONSE_BODY,
	RESPONSE_BODY_TO_END, /* neither a length nor chunks: the stream's end ends it */
	RESPONSE_CHUNK_SIZE,
	RESPONSE_CHUNK_DATA,
	RESPONSE_CHUNK_END,
	RESPONSE_TRAILERS,
	RESPONSE_FRAMES, /* after the handshake */
};

enum response_outcome {
	RESPONSE_MORE,  /* all bytes taken, the response goes on */
	RESPONSE_GOOD,  /* complete */
	RESPONSE_BAD,   /* complete, but not 2xx (HTTP), or wrong bytes (RPC) */
	RESPONSE_BROKEN /* not what the protocol allows: the stream cannot be read on */
};

struct response {
	uint64_t remaining;  /* of the body, the chunk, the RPC message, or the WebSocket frame */
	uint64_t echoed;     /* bytes of the WebSocket message, over its frames so far */
	uint32_t state;      /* enum response_state */
	uint32_t status;     /* HTTP status code */
	uint32_t line_bytes; /* of an unfinished line, kept in `line` */
	bool has_length;
	bool chunked;
	bool closes;   /* the server says that it closes after this one */
	bool accepted; /* the handshake's key was answered */
	char line[RESPONSE_LINE_BYTES];
};

/* Makes ready for a new stream. */
void response_reset(struct response *response, const struct response_format *format);

/* Takes bytes up to the end of one response; *taken says how many. */
enum response_outcome response_feed(struct response *response, const struct response_format *format, const char *data,
				    uint64_t bytes, uint64_t *taken);

/* What the end of the stream means now: GOOD or BAD if it completes a response, MORE if nothing had begun,
 * BROKEN in the middle of one. */
enum response_outcome response_end(const struct response *response, const struct response_format *format);

#endif
