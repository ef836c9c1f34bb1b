/* How everything that can fail says so.
 *
 * A function that can fail returns `enum status`; 0 is success. The detail, one line for a person,
 * goes to a `struct err` that the caller owns. There are no global errors, and nothing below tools/
 * calls exit(). A programming mistake asserts; a bad file or a lack of memory returns. */
#ifndef MIDASHI_BASE_STATUS_H
#define MIDASHI_BASE_STATUS_H

/* The values are the exit codes of the command line (docs/formats.md). */
enum status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,        /* none of the below */
    STATUS_USAGE = 2,         /* the command line, or the settings that it made */
    STATUS_BAD_DATA = 65,     /* a file is there, but what it holds is wrong */
    STATUS_MISSING = 66,      /* a file that should be there is not */
    STATUS_RESOURCE = 71,     /* the device, memory, disk or another service of the system */
    STATUS_INTERRUPTED = 130, /* SIGINT or SIGTERM arrived */
};

struct err {
    enum status status;
    char text[1024]; /* UTF-8, one line, no final newline; "" when status is 0 */
};

/* Sets *err (which may be NULL) and returns status, so that `return err_set(...)` reads well.
 * Line breaks and other control characters that come in through arguments become spaces, bytes that
 * are not UTF-8 question marks: the text stays one good line whatever a file held. A text too long
 * is cut at a character boundary. Convention of the texts: "FILE: PLACE: what is wrong; what to
 * do". */
enum status err_set(struct err *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set with STATUS_RESOURCE: "not enough memory for WHAT (N bytes)". bytes 0: not known, and
 * not said. */
enum status err_no_memory(struct err *err, const char *what, unsigned long long bytes);

/* Puts "PREFIX: " before the text that is there. Returns err->status. err must not be NULL. */
enum status err_prefix(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Passes a failure on: `TRY(f(..., err));` */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum status try_status_ = (call);                                                          \
        if (try_status_ != STATUS_OK)                                                              \
            return try_status_;                                                                    \
    } while (0)

/* The same where there is something to release: jumps to `label` with `status` set. */
#define TRY_TO(status, call, label)                                                                \
    do {                                                                                           \
        (status) = (call);                                                                         \
        if ((status) != STATUS_OK)                                                                 \
            goto label;                                                                            \
    } while (0)

#endif
