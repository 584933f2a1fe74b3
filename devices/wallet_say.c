#include "devices/wallet.h"

#include "proto/token_protocol.h"

#include <stdarg.h>

void wallet_say(struct driver_op *op, const char *fmt, ...)
{
    struct buf fields = BUF_INIT;
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (gpgrt_vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (text != NULL && op->io != NULL && op->io->status != NULL) {
        field_put(&fields, "say", text);
        if (buf_cstr(&fields) != NULL)
            (void)op->io->status(op->io->arg, TOKEN_STATUS_WALLET, buf_cstr(&fields));
    }
    buf_free(&fields);
    gpgrt_free(text);
}
