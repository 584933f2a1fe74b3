/* The module, its slots, and sessions that are lost and made anew. */
#include "devices/pkcs11.h"

#include <p11-kit/p11-kit.h>
#include <string.h>
#include <time.h>

#define MAX_SLOTS 256u

int64_t p11_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

char *p11_text(const CK_UTF8CHAR *field, size_t n)
{
    char *s = gpgrt_malloc(n + 1);

    if (s == NULL)
        return NULL;
    if (n > 0)
        memcpy(s, field, n);
    s[n] = '\0';
    n = strlen(s);
    while (n > 0 && s[n - 1] == ' ')
        s[--n] = '\0';
    return s;
}

/* --- answers ------------------------------------------------------------------------------------------------------------ */

/* Nobody but us closes our session or logs it out: where that has happened the token was taken away, reset, or another
 * program was at it. */
static bool means_lost(CK_RV rv)
{
    switch (rv) {
    case CKR_DEVICE_REMOVED:
    case CKR_DEVICE_ERROR:
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_TOKEN_NOT_RECOGNIZED:
    case CKR_SLOT_ID_INVALID:
    case CKR_SESSION_HANDLE_INVALID:
    case CKR_SESSION_CLOSED:
    case CKR_USER_NOT_LOGGED_IN:
    case CKR_OBJECT_HANDLE_INVALID:
    case CKR_KEY_HANDLE_INVALID:
    case CKR_OPERATION_ACTIVE:
        return true;
    default:
        return false;
    }
}

static gpg_err_code_t code_of(CK_RV rv)
{
    switch (rv) {
    case CKR_OK:
        return 0;
    case CKR_PIN_INCORRECT:
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
        return GPG_ERR_BAD_PIN;
    case CKR_PIN_LOCKED:
        return GPG_ERR_PIN_BLOCKED;
    case CKR_PIN_EXPIRED:
    case CKR_USER_PIN_NOT_INITIALIZED:
        return GPG_ERR_NO_PIN;
    case CKR_FUNCTION_CANCELED:
    case CKR_CANCEL:
        return GPG_ERR_CANCELED;
    case CKR_HOST_MEMORY:
    case CKR_DEVICE_MEMORY:
        return GPG_ERR_ENOMEM;
    case CKR_MECHANISM_INVALID:
    case CKR_FUNCTION_NOT_SUPPORTED:
    case CKR_KEY_TYPE_INCONSISTENT:
        return GPG_ERR_NOT_SUPPORTED;
    case CKR_KEY_FUNCTION_NOT_PERMITTED:
        return GPG_ERR_WRONG_KEY_USAGE;
    case CKR_ATTRIBUTE_TYPE_INVALID:
    case CKR_ATTRIBUTE_SENSITIVE:
        return GPG_ERR_NO_OBJ;
    case CKR_CRYPTOKI_NOT_INITIALIZED:
        return GPG_ERR_ENODEV; /* ends the process, which is started anew */
    default:
        return GPG_ERR_CARD;
    }
}

gpg_error_t p11_check(struct p11_token *t, const char *what, CK_RV rv)
{
    if (rv == CKR_OK)
        return 0;
    if (code_of(rv) != GPG_ERR_NO_OBJ)
        gpgrt_log_info("%s: 0x%lx %s\n", what, (unsigned long)rv, p11_kit_strerror(rv));
    if (!means_lost(rv))
        return gpg_error(code_of(rv));
    p11_drop_session(t);
    return gpg_error(GPG_ERR_CARD_RESET);
}

/* --- sessions ----------------------------------------------------------------------------------------------------------- */

static bool same_token(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b)
{
    return memcmp(a->label, b->label, sizeof a->label) == 0 &&
           memcmp(a->manufacturerID, b->manufacturerID, sizeof a->manufacturerID) == 0 &&
           memcmp(a->model, b->model, sizeof a->model) == 0 &&
           memcmp(a->serialNumber, b->serialNumber, sizeof a->serialNumber) == 0;
}

static bool is_in_slot(const struct p11_token *t, CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    memset(info, 0, sizeof *info);
    return t->f->C_GetTokenInfo(slot, info) == CKR_OK && same_token(info, &t->info);
}

static bool is_hardware(CK_FUNCTION_LIST *f, CK_SLOT_ID slot)
{
    CK_SLOT_INFO info = {.flags = 0};

    return f->C_GetSlotInfo == NULL || f->C_GetSlotInfo(slot, &info) != CKR_OK ||
           (info.flags & CKF_HW_SLOT) != 0;
}

static gpg_error_t list_slots(CK_FUNCTION_LIST *f, CK_SLOT_ID **slots, size_t *n)
{
    CK_ULONG count = 0;
    CK_RV rv;

    *slots = NULL;
    *n = 0;
    rv = f->C_GetSlotList(CK_TRUE, NULL, &count);
    if (rv != CKR_OK)
        return gpg_error(code_of(rv));
    if (count > MAX_SLOTS)
        return gpg_error(GPG_ERR_TOO_MANY);
    *slots = gpgrt_calloc(count + 1, sizeof **slots);
    if (*slots == NULL)
        return gpg_error_from_syserror();
    rv = count > 0 ? f->C_GetSlotList(CK_TRUE, *slots, &count) : CKR_OK;
    if (rv != CKR_OK) {
        gpgrt_free(*slots);
        *slots = NULL;
        return gpg_error(code_of(rv));
    }
    *n = count;
    return 0;
}

static gpg_error_t locate(struct p11_token *t)
{
    CK_TOKEN_INFO info;
    CK_SLOT_ID *slots;
    size_t n, i;
    gpg_error_t err;

    /* Asked for the list first: some modules notice only then what came and went. */
    err = list_slots(t->f, &slots, &n);
    if (err != 0)
        return err;
    for (i = 0; i < n && !is_in_slot(t, slots[i], &info); i++)
        continue;
    if (i < n) {
        t->slot = slots[i];
        t->info = info;
    }
    gpgrt_free(slots);
    return i < n ? 0 : gpg_error(GPG_ERR_CARD_NOT_PRESENT);
}

gpg_error_t p11_refresh(struct p11_token *t)
{
    CK_TOKEN_INFO info;

    if (!is_in_slot(t, t->slot, &info)) {
        p11_drop_session(t);
        return gpg_error(GPG_ERR_CARD_RESET);
    }
    t->info = info;
    return 0;
}

gpg_error_t p11_ready(struct p11_token *t)
{
    CK_RV rv;
    gpg_error_t err;

    if (t->open)
        return 0;
    err = locate(t);
    if (err != 0)
        return err;
    rv = t->f->C_OpenSession(t->slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
    if (rv != CKR_OK)
        return p11_check(t, "C_OpenSession", rv);
    t->open = true;
    t->logged_in = false;
    return 0;
}

void p11_drop_session(struct p11_token *t)
{
    if (t->open)
        (void)t->f->C_CloseSession(t->session);
    t->open = t->logged_in = false;
}

/* --- the module --------------------------------------------------------------------------------------------------------- */

static gpg_error_t find_tokens(struct p11 *p)
{
    CK_SLOT_ID *slots;
    size_t n;
    gpg_error_t err = list_slots(p->f, &slots, &n);

    if (err != 0)
        return err;
    p->tokens = gpgrt_calloc(n + 1, sizeof *p->tokens);
    if (p->tokens == NULL)
        err = gpg_error_from_syserror();
    for (size_t i = 0; err == 0 && i < n; i++) {
        struct p11_token *t = &p->tokens[p->ntokens];

        *t = (struct p11_token){.f = p->f,
                                .slot = slots[i],
                                .pin = BUF_INIT_SECURE,
                                .hardware = is_hardware(p->f, slots[i])};
        if (p->f->C_GetTokenInfo(slots[i], &t->info) == CKR_OK &&
            (t->info.flags & CKF_TOKEN_INITIALIZED) != 0)
            p->ntokens++;
    }
    gpgrt_free(slots);
    return err;
}

gpg_error_t p11_load(struct p11 *p)
{
    CK_RV rv;
    gpg_error_t err;

    if (p->f != NULL)
        return 0;
    p->f = p11_kit_module_load(p->path, P11_KIT_MODULE_UNMANAGED);
    if (p->f == NULL) {
        gpgrt_log_error("%s: not a PKCS#11 module: %s\n", p->path, p11_kit_message());
        return gpg_error(GPG_ERR_NOT_FOUND);
    }
    rv = p11_kit_module_initialize(p->f);
    if (rv != CKR_OK) {
        gpgrt_log_error("%s: C_Initialize: %s\n", p->path, p11_kit_strerror(rv));
        p11_kit_module_release(p->f);
        p->f = NULL;
        return gpg_error(GPG_ERR_NOT_INITIALIZED);
    }
    err = find_tokens(p);
    if (err != 0)
        p11_unload(p);
    return err;
}

void p11_unload(struct p11 *p)
{
    for (size_t i = 0; i < p->ntokens; i++) {
        p11_logout(&p->tokens[i]);
        p11_drop_session(&p->tokens[i]);
        p11_forget_pin(&p->tokens[i]);
        p11_keys_free(&p->tokens[i]);
    }
    gpgrt_free(p->tokens);
    p->tokens = NULL;
    p->ntokens = 0;
    if (p->f != NULL) {
        (void)p11_kit_module_finalize(p->f);
        p11_kit_module_release(p->f);
    }
    p->f = NULL;
}
