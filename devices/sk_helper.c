#include "devices/sk_helper.h"

#include "devices/sk_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAX_REQUEST (300u * 1024u)

static struct rd rd_cstr(const char *s)
{
    return rd_of(s, strlen(s));
}

/* --- octets ------------------------------------------------------------------------------------------------------------ */

gpg_error_t sk_request_put(const struct sk_request *q, struct buf *b)
{
    struct rd pin = rd_cstr(q->pin != NULL ? q->pin : "");
    struct rd application = rd_cstr(q->application != NULL ? q->application : "");

    buf_put_u8(b, q->check_only);
    buf_put_u32(b, q->alg);
    buf_put_u8(b, q->flags);
    buf_put_string(b, application.p, application.n);
    buf_put_string(b, q->handle.p, q->handle.n);
    buf_put_string(b, q->message.p, q->message.n);
    buf_put_u8(b, q->pin != NULL);
    buf_put_string(b, pin.p, pin.n);
    return buf_err(b);
}

static gpg_error_t read_pin(struct rd *r, const char **out)
{
    struct rd pin;
    uint8_t has;
    char *copy;
    gpg_error_t err = rd_u8(r, &has);

    if (err == 0)
        err = rd_string(r, &pin);
    if (err != 0 || has == 0)
        return err;
    copy = gcry_calloc_secure(pin.n + 1, 1);
    if (copy == NULL)
        return gpg_error_from_syserror();
    if (pin.n > 0)
        memcpy(copy, pin.p, pin.n);
    *out = copy;
    return 0;
}

gpg_error_t sk_request_parse(struct rd r, struct sk_request *out)
{
    struct sk_request q = {0};
    char *application = NULL;
    uint8_t check;
    gpg_error_t err;

    if ((err = rd_u8(&r, &check)) != 0 || (err = rd_u32(&r, &q.alg)) != 0 ||
        (err = rd_u8(&r, &q.flags)) != 0 || (err = rd_cstring(&r, &application)) != 0)
        return err;
    q.application = application;
    q.check_only = check != 0;
    if ((err = rd_string(&r, &q.handle)) != 0 || (err = rd_string(&r, &q.message)) != 0 ||
        (err = read_pin(&r, &q.pin)) != 0 || (err = rd_end(&r)) != 0) {
        sk_request_clear(&q);
        return err;
    }
    *out = q;
    return 0;
}

void sk_request_clear(struct sk_request *q)
{
    gpgrt_free((void *)(uintptr_t)q->application);
    gcry_free((void *)(uintptr_t)q->pin);
    *q = (struct sk_request){0};
}

static void put_answer(struct buf *b, int code, const struct sk_sign_response *s,
                       const char *problem)
{
    buf_put_u32(b, (uint32_t)code);
    buf_put_u8(b, s != NULL ? s->flags : 0);
    buf_put_u32(b, s != NULL ? s->counter : 0);
    buf_put_string(b, s != NULL ? s->sig_r : NULL, s != NULL ? s->sig_r_len : 0);
    buf_put_string(b, s != NULL ? s->sig_s : NULL, s != NULL ? s->sig_s_len : 0);
    buf_put_cstring(b, problem != NULL ? problem : "");
}

gpg_error_t sk_answer_parse(struct rd r, struct sk_answer *out)
{
    struct sk_answer a = {0};
    uint32_t code;
    gpg_error_t err;

    if ((err = rd_u32(&r, &code)) != 0 || (err = rd_u8(&r, &a.says.flags)) != 0 ||
        (err = rd_u32(&r, &a.says.counter)) != 0 || (err = rd_string(&r, &a.r)) != 0 ||
        (err = rd_string(&r, &a.s)) != 0 || (err = rd_cstring(&r, &a.problem)) != 0)
        return err;
    err = rd_end(&r);
    if (err != 0) {
        gpgrt_free(a.problem);
        return err;
    }
    if (a.problem[0] == '\0') {
        gpgrt_free(a.problem);
        a.problem = NULL;
    }
    a.code = (int)code;
    *out = a;
    return 0;
}

void sk_answer_clear(struct sk_answer *a)
{
    gpgrt_free(a->problem);
    buf_free(&a->store);
    *a = (struct sk_answer){0};
}

/* --- the helper process -------------------------------------------------------------------------------------------------- */

static gpg_error_t read_request(struct buf *b)
{
    uint8_t chunk[4096];
    ssize_t n;

    for (;;) {
        n = read(STDIN_FILENO, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (b->len + (size_t)n > MAX_REQUEST)
            return gpg_error(GPG_ERR_TOO_LARGE);
        buf_put(b, chunk, (size_t)n);
    }
    explicit_bzero(chunk, sizeof chunk);
    return n < 0 ? gpg_error_from_syserror() : buf_err(b);
}

static int write_answer(struct buf *b)
{
    size_t done = 0;

    if (buf_err(b) != 0)
        return 1;
    while (done < b->len) {
        ssize_t n = write(STDIN_FILENO, b->data + done, b->len - done);

        if (n < 0 && errno != EINTR)
            return 1;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

/* The library's sk_sign; NULL, and *PROBLEM, when it is none that we can use. It stays loaded: the process ends soon. */
static sk_sign_fn *load(const char *provider, char **problem)
{
    void *lib = dlopen(provider, RTLD_NOW);
    sk_api_version_fn *version;
    sk_sign_fn *sign;
    uint32_t v;

    if (lib == NULL) {
        const char *why = dlerror();

        *problem = gpgrt_bsprintf("cannot be loaded: %s", why != NULL ? why : "?");
        return NULL;
    }
    /* POSIX's way around the object-to-function cast */
    *(void **)(void *)&version = dlsym(lib, "sk_api_version");
    *(void **)(void *)&sign = dlsym(lib, "sk_sign");
    if (version == NULL || sign == NULL) {
        *problem =
            gpgrt_strdup("is no security-key middleware: sk_api_version or sk_sign is missing");
        return NULL;
    }
    v = version();
    if ((v & SK_API_MAJOR_MASK) != SK_API_MAJOR) {
        *problem = gpgrt_bsprintf("speaks version 0x%08x of the middleware interface, not 0x%08x",
                                  (unsigned)v, (unsigned)SK_API_MAJOR);
        return NULL;
    }
    return sign;
}

static void run(const struct sk_request *q, const char *provider, struct buf *answer)
{
    struct sk_sign_response *s = NULL;
    char *problem = NULL;
    sk_sign_fn *sign = load(provider, &problem);
    int code = sign != NULL ? SK_API_OK : SK_API_GENERAL;

    if (sign != NULL && !q->check_only)
        code = sign(q->alg, q->message.p, q->message.n, q->application, q->handle.p, q->handle.n,
                    q->flags, q->pin, NULL, &s);
    if (code == SK_API_OK && s == NULL && !q->check_only)
        code = SK_API_GENERAL;
    put_answer(answer, code, code == SK_API_OK ? s : NULL, problem);
    if (s != NULL) {
        free(s->sig_r);
        free(s->sig_s);
        free(s);
    }
    gpgrt_free(problem);
}

int sk_helper_main(const char *provider)
{
    struct buf request = BUF_INIT_SECURE, answer = BUF_INIT;
    struct sk_request q = {0};
    int status = 1;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read_request(&request) == 0 && sk_request_parse(buf_rd(&request), &q) == 0) {
        run(&q, provider, &answer);
        status = write_answer(&answer);
    }
    sk_request_clear(&q);
    buf_free(&request);
    buf_free(&answer);
    return status;
}
