#include "tests/pkcs11/fake_module.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT       __attribute__((visibility("default")))
#define MAX_SESSIONS 64u

/* Object handles: 100 * token + 10 * key + what. */
enum { PUBLIC = 1, PRIVATE = 2, CERTIFICATE = 3 };

static struct fake_pkcs11 fake = {
    .tokens = {{.present = true,
                .slot = 7,
                .label = "Fake One",
                .serial = "F0001",
                .pin = "1234",
                .flags = CKF_LOGIN_REQUIRED,
                .tries = 3,
                .with_keys = {true, true, true, true}},
               {.slot = 9,
                .label = "Fake Two",
                .serial = "F0002",
                .pin = "9876",
                .flags = CKF_LOGIN_REQUIRED,
                .tries = 3}},
};
static EVP_PKEY *keys[FAKE_TOKENS][FAKE_KEYS];

static struct session {
    bool open;
    int token;
    CK_ULONG found[64], nfound, at;
    bool searching, signing, need_context;
    int key;
    CK_MECHANISM_TYPE mechanism;
} sessions[MAX_SESSIONS];

EXPORT struct fake_pkcs11 *fake_pkcs11(void);
EXPORT CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list);

struct fake_pkcs11 *fake_pkcs11(void)
{
    return &fake;
}

/* --- failures --------------------------------------------------------------------------------------------------------- */

static CK_RV injected(const char *function)
{
    if (fake.fail == NULL || strcmp(fake.fail, function) != 0 || fake.times <= 0)
        return CKR_OK;
    if (fake.skip > 0) {
        fake.skip--;
        return CKR_OK;
    }
    fake.times--;
    return fake.rv;
}

#define INJECT(name)                \
    do {                            \
        CK_RV rv_ = injected(name); \
                                    \
        if (rv_ != CKR_OK)          \
            return rv_;             \
    } while (0)

static void obey(const char *when)
{
    const char *path = getenv("FAKE_PKCS11_MODE");
    FILE *f = path != NULL ? fopen(path, "r") : NULL;
    char mode[32] = "", want[32];

    if (f == NULL)
        return;
    if (fscanf(f, "%31s", mode) != 1)
        mode[0] = '\0';
    fclose(f);
    snprintf(want, sizeof want, "crash-%s", when);
    if (strcmp(mode, want) == 0)
        abort();
    snprintf(want, sizeof want, "hang-%s", when);
    while (strcmp(mode, want) == 0)
        pause();
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

/* The same keys in each process of a test, if it names a folder for them. */
static EVP_PKEY *make_key(int token, int key)
{
    const char *dir = getenv("FAKE_PKCS11_KEYS");
    char path[512];
    EVP_PKEY *k = NULL;
    FILE *f;

    snprintf(path, sizeof path, "%s/%d-%d.pem", dir != NULL ? dir : "", token, key);
    f = dir != NULL ? fopen(path, "r") : NULL;
    if (f != NULL) {
        k = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        fclose(f);
        return k;
    }
    switch (key) {
    case 0:
        k = EVP_RSA_gen(2048);
        break;
    case 1:
        k = EVP_EC_gen("P-256");
        break;
    case 2:
        k = EVP_EC_gen("P-384");
        break;
    default:
        k = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    }
    f = dir != NULL ? fopen(path, "w") : NULL;
    if (f != NULL) {
        PEM_write_PrivateKey(f, k, NULL, NULL, 0, NULL, NULL);
        fclose(f);
    }
    return k;
}

static EVP_PKEY *key_of(int token, int key)
{
    if (keys[token][key] == NULL)
        keys[token][key] = make_key(token, key);
    return keys[token][key];
}

/* --- slots and tokens --------------------------------------------------------------------------------------------------- */

static int token_in(CK_SLOT_ID slot)
{
    for (int i = 0; i < FAKE_TOKENS; i++)
        if (fake.tokens[i].present && fake.tokens[i].slot == slot)
            return i;
    return -1;
}

static void pad(CK_UTF8CHAR *field, size_t n, const char *text)
{
    memset(field, ' ', n);
    memcpy(field, text, strlen(text) < n ? strlen(text) : n);
}

static CK_RV initialize(void *args)
{
    (void)args;
    INJECT("C_Initialize");
    obey("load");
    return CKR_OK;
}

static CK_RV finalize(void *reserved)
{
    (void)reserved;
    fake.finalized++;
    return CKR_OK;
}

static CK_RV get_info(CK_INFO *info)
{
    memset(info, 0, sizeof *info);
    info->cryptokiVersion.major = 2;
    info->cryptokiVersion.minor = 40;
    return CKR_OK;
}

static CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *n)
{
    CK_ULONG got = 0;

    (void)present;
    INJECT("C_GetSlotList");
    for (int i = 0; i < FAKE_TOKENS; i++) {
        if (!fake.tokens[i].present)
            continue;
        if (list != NULL)
            list[got] = fake.tokens[i].slot;
        got++;
    }
    *n = got;
    return CKR_OK;
}

static CK_RV get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
    int i = token_in(slot);

    if (i < 0)
        return CKR_SLOT_ID_INVALID;
    memset(info, 0, sizeof *info);
    info->flags = CKF_TOKEN_PRESENT | (fake.tokens[i].soft ? 0 : CKF_HW_SLOT);
    return CKR_OK;
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    int i = token_in(slot);
    const struct fake_token *t = &fake.tokens[i < 0 ? 0 : i];

    INJECT("C_GetTokenInfo");
    if (i < 0)
        return CKR_TOKEN_NOT_PRESENT;
    memset(info, 0, sizeof *info);
    pad(info->label, sizeof info->label, t->label);
    pad(info->manufacturerID, sizeof info->manufacturerID, "latchkey tests");
    pad(info->model, sizeof info->model, "fake");
    pad(info->serialNumber, sizeof info->serialNumber, t->serial);
    info->flags = t->flags | CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED;
    if (t->tries == 0)
        info->flags |= CKF_USER_PIN_LOCKED;
    else if (t->tries == 1)
        info->flags |= CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW;
    else if (t->tries == 2)
        info->flags |= CKF_USER_PIN_COUNT_LOW;
    info->ulMinPinLen = 4;
    info->ulMaxPinLen = 16;
    return CKR_OK;
}

/* --- sessions ------------------------------------------------------------------------------------------------------------ */

static struct session *session_of(CK_SESSION_HANDLE h)
{
    if (h == 0 || h > MAX_SESSIONS || !sessions[h - 1].open)
        return NULL;
    /* A token that was taken out takes its sessions along. */
    if (!fake.tokens[sessions[h - 1].token].present) {
        sessions[h - 1].open = false;
        fake.sessions--;
        return NULL;
    }
    return &sessions[h - 1];
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *out)
{
    int token = token_in(slot);

    (void)flags;
    (void)app;
    (void)notify;
    INJECT("C_OpenSession");
    if (token < 0)
        return CKR_TOKEN_NOT_PRESENT;
    for (CK_SESSION_HANDLE i = 0; i < MAX_SESSIONS; i++)
        if (!sessions[i].open) {
            sessions[i] = (struct session){.open = true, .token = token};
            fake.sessions++;
            *out = i + 1;
            return CKR_OK;
        }
    return CKR_SESSION_COUNT;
}

static CK_RV close_session(CK_SESSION_HANDLE h)
{
    struct session *s = session_of(h);

    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    s->open = false;
    fake.sessions--;
    fake.tokens[s->token].logged_in = false; /* we open one each */
    return CKR_OK;
}

static CK_RV login(CK_SESSION_HANDLE h, CK_USER_TYPE who, CK_UTF8CHAR *pin, CK_ULONG n)
{
    struct session *s = session_of(h);
    struct fake_token *t;

    INJECT("C_Login");
    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    t = &fake.tokens[s->token];
    if (who == CKU_USER && t->logged_in)
        return CKR_USER_ALREADY_LOGGED_IN;
    if ((t->flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0) {
        if (pin != NULL)
            return CKR_ARGUMENTS_BAD;
        t->keypad++;
    } else {
        if (t->npins < FAKE_PINS)
            snprintf(t->pins[t->npins++], sizeof t->pins[0], "%.*s", (int)n, (const char *)pin);
        if (t->tries == 0)
            return CKR_PIN_LOCKED;
        if (n != strlen(t->pin) || memcmp(pin, t->pin, n) != 0)
            return --t->tries == 0 ? CKR_PIN_LOCKED : CKR_PIN_INCORRECT;
        t->tries = 3;
    }
    if (who == CKU_CONTEXT_SPECIFIC)
        s->need_context = false;
    else
        t->logged_in = true;
    return CKR_OK;
}

static CK_RV logout(CK_SESSION_HANDLE h)
{
    struct session *s = session_of(h);

    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    fake.tokens[s->token].logged_in = false;
    fake.tokens[s->token].logouts++;
    return CKR_OK;
}

/* --- objects ------------------------------------------------------------------------------------------------------------- */

struct value {
    unsigned char data[4096];
    size_t n;
};

static void set(struct value *v, const void *p, size_t n)
{
    memcpy(v->data, p, n);
    v->n = n;
}

static void set_bn(struct value *v, EVP_PKEY *k, const char *name)
{
    BIGNUM *n = NULL;

    if (EVP_PKEY_get_bn_param(k, name, &n) == 1)
        v->n = (size_t)BN_bn2bin(n, v->data);
    BN_free(n);
}

static void set_point(struct value *v, EVP_PKEY *k, int key, bool raw)
{
    unsigned char point[256];
    size_t n = sizeof point;
    ASN1_OCTET_STRING *os;
    unsigned char *p = v->data;

    if (key == 3)
        EVP_PKEY_get_raw_public_key(k, point, &n);
    else
        EVP_PKEY_get_octet_string_param(k, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &n);
    if (raw) {
        set(v, point, n);
        return;
    }
    os = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(os, point, (int)n);
    v->n = (size_t)i2d_ASN1_OCTET_STRING(os, &p);
    ASN1_OCTET_STRING_free(os);
}

static void set_certificate(struct value *v, EVP_PKEY *k)
{
    static struct value made; /* signed once: its length must not change between two calls */
    X509 *x;
    unsigned char *p = v->data;

    if (made.n > 0) {
        *v = made;
        return;
    }
    x = X509_new();

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"Ann Author", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, k);
    X509_sign(x, k, EVP_sha256());
    v->n = (size_t)i2d_X509(x, &p);
    X509_free(x);
    made = *v;
}

static bool value_of(CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, struct value *v)
{
    static const unsigned char params[][16] = {"", "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
                                               "\x06\x05\x2b\x81\x04\x00\x22",
                                               "\x06\x03\x2b\x65\x70"};
    static const size_t nparams[] = {0, 10, 7, 5};
    int token = (int)(o / 100), key = (int)(o / 10 % 10), what = (int)(o % 10);
    const struct fake_token *t = &fake.tokens[token];
    CK_OBJECT_CLASS class = what == PUBLIC    ? CKO_PUBLIC_KEY
                            : what == PRIVATE ? CKO_PRIVATE_KEY
                                              : CKO_CERTIFICATE;
    CK_KEY_TYPE kind = key == 0 ? CKK_RSA : key == 3 ? CKK_EC_EDWARDS : CKK_EC;
    CK_CERTIFICATE_TYPE x509 = CKC_X_509;
    CK_BBOOL flag = CK_TRUE;
    unsigned char id = (unsigned char)(key + 1);
    char label[32];

    v->n = 0;
    switch (type) {
    case CKA_CLASS:
        set(v, &class, sizeof class);
        return true;
    case CKA_ID:
        set(v, &id, 1);
        return true;
    case CKA_LABEL:
        snprintf(label, sizeof label, "key %d", key);
        if (t->label_of_keys[0] != '\0') {
            set(v, t->label_of_keys, strlen(t->label_of_keys));
            return true;
        }
        /* the P-384 one has none */
        set(v, label, key == 2 ? 0 : strlen(label));
        return true;
    case CKA_KEY_TYPE:
        set(v, &kind, sizeof kind);
        return what != CERTIFICATE;
    case CKA_MODULUS:
        set_bn(v, key_of(token, key), OSSL_PKEY_PARAM_RSA_N);
        return key == 0 && what != CERTIFICATE;
    case CKA_PUBLIC_EXPONENT:
        set_bn(v, key_of(token, key), OSSL_PKEY_PARAM_RSA_E);
        return key == 0 && what == PUBLIC;
    case CKA_EC_PARAMS:
        set(v, params[key], nparams[key]);
        return key != 0 && what != CERTIFICATE;
    case CKA_EC_POINT:
        if (key != 0 && what == PUBLIC)
            set_point(v, key_of(token, key), key, t->raw_points);
        return key != 0 && what == PUBLIC;
    case CKA_CERTIFICATE_TYPE:
        set(v, &x509, sizeof x509);
        return what == CERTIFICATE;
    case CKA_VALUE:
        if (what == CERTIFICATE)
            set_certificate(v, key_of(token, key));
        return what == CERTIFICATE;
    case CKA_ALWAYS_AUTHENTICATE:
        set(v, &flag, sizeof flag);
        return what == PRIVATE && t->always_auth;
    default:
        return false;
    }
}

static bool visible(const struct fake_token *t, int key, int what)
{
    if (!t->with_keys[key])
        return false;
    switch (what) {
    case PUBLIC:
        return (!t->hide_public || t->logged_in) && !(key == 1 && t->certificate);
    case PRIVATE:
        return t->logged_in || (t->flags & CKF_LOGIN_REQUIRED) == 0;
    default:
        return key == 1 && t->certificate;
    }
}

static bool matches(CK_OBJECT_HANDLE o, const CK_ATTRIBUTE *a, CK_ULONG n)
{
    struct value v;

    for (CK_ULONG i = 0; i < n; i++)
        if (!value_of(o, a[i].type, &v) || v.n != a[i].ulValueLen ||
            memcmp(v.data, a[i].pValue, v.n) != 0)
            return false;
    return true;
}

static CK_RV find_init(CK_SESSION_HANDLE h, CK_ATTRIBUTE *a, CK_ULONG n)
{
    struct session *s = session_of(h);

    INJECT("C_FindObjectsInit");
    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    if (s->searching)
        return CKR_OPERATION_ACTIVE;
    s->searching = true;
    s->nfound = s->at = 0;
    for (int key = 0; key < FAKE_KEYS; key++)
        for (int what = PUBLIC; what <= CERTIFICATE; what++) {
            CK_OBJECT_HANDLE o = (CK_OBJECT_HANDLE)(s->token * 100 + key * 10 + what);

            if (visible(&fake.tokens[s->token], key, what) && matches(o, a, n))
                s->found[s->nfound++] = o;
        }
    return CKR_OK;
}

/* One at a time: who asks must ask again. */
static CK_RV find_objects(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *n)
{
    struct session *s = session_of(h);

    INJECT("C_FindObjects");
    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    *n = s->at < s->nfound && max > 0 ? 1 : 0;
    if (*n > 0)
        out[0] = s->found[s->at++];
    return CKR_OK;
}

static CK_RV find_final(CK_SESSION_HANDLE h)
{
    struct session *s = session_of(h);

    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    s->searching = false;
    return CKR_OK;
}

static CK_RV get_attributes(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *a, CK_ULONG n)
{
    struct value v;
    CK_RV rv = CKR_OK;

    INJECT("C_GetAttributeValue");
    if (session_of(h) == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    for (CK_ULONG i = 0; i < n; i++) {
        if (!value_of(o, a[i].type, &v)) {
            a[i].ulValueLen = (CK_ULONG)-1;
            rv = CKR_ATTRIBUTE_TYPE_INVALID;
        } else if (a[i].pValue != NULL && a[i].ulValueLen < v.n) {
            a[i].ulValueLen = (CK_ULONG)-1;
            rv = CKR_BUFFER_TOO_SMALL;
        } else {
            if (a[i].pValue != NULL)
                memcpy(a[i].pValue, v.data, v.n);
            a[i].ulValueLen = v.n;
        }
    }
    return rv;
}

/* --- signing ------------------------------------------------------------------------------------------------------------- */

static CK_RV sign_init(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE o)
{
    struct session *s = session_of(h);

    INJECT("C_SignInit");
    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    if (s->signing)
        return CKR_OPERATION_ACTIVE;
    if (o % 10 != PRIVATE || !visible(&fake.tokens[s->token], (int)(o / 10 % 10), PRIVATE))
        return CKR_KEY_HANDLE_INVALID;
    s->signing = true;
    s->need_context = fake.tokens[s->token].always_auth;
    s->key = (int)(o / 10 % 10);
    s->mechanism = m->mechanism;
    return CKR_OK;
}

static bool sign_rsa(EVP_PKEY *k, const unsigned char *data, size_t n, unsigned char *sig,
                     size_t *len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k, NULL);
    bool good = EVP_PKEY_sign_init(ctx) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                EVP_PKEY_sign(ctx, sig, len, data, n) == 1;

    EVP_PKEY_CTX_free(ctx);
    return good;
}

static bool sign_ec(EVP_PKEY *k, const unsigned char *data, size_t n, unsigned char *sig,
                    size_t *len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k, NULL);
    int half = (EVP_PKEY_get_bits(k) + 7) / 8;
    unsigned char der[256];
    const unsigned char *p = der;
    size_t nder = sizeof der;
    ECDSA_SIG *rs = NULL;
    bool good = EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_sign(ctx, der, &nder, data, n) == 1 &&
                (rs = d2i_ECDSA_SIG(NULL, &p, (long)nder)) != NULL &&
                BN_bn2binpad(ECDSA_SIG_get0_r(rs), sig, half) == half &&
                BN_bn2binpad(ECDSA_SIG_get0_s(rs), sig + half, half) == half;

    *len = (size_t)half * 2;
    ECDSA_SIG_free(rs);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static bool sign_ed(EVP_PKEY *k, const unsigned char *data, size_t n, unsigned char *sig,
                    size_t *len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = EVP_DigestSignInit(ctx, NULL, NULL, NULL, k) == 1 &&
                EVP_DigestSign(ctx, sig, len, data, n) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

static CK_RV sign(CK_SESSION_HANDLE h, unsigned char *data, CK_ULONG n, unsigned char *sig,
                  CK_ULONG *len)
{
    struct session *s = session_of(h);
    EVP_PKEY *k;
    size_t room = *len;
    bool good;

    obey("sign");
    INJECT("C_Sign");
    if (s == NULL)
        return CKR_SESSION_HANDLE_INVALID;
    if (!s->signing)
        return CKR_OPERATION_NOT_INITIALIZED;
    if (s->need_context)
        return CKR_USER_NOT_LOGGED_IN;
    s->signing = false;
    k = key_of(s->token, s->key);
    switch (s->mechanism) {
    case CKM_RSA_PKCS:
        good = s->key == 0 && sign_rsa(k, data, n, sig, &room);
        break;
    case CKM_ECDSA:
        good = (s->key == 1 || s->key == 2) && sign_ec(k, data, n, sig, &room);
        break;
    case CKM_EDDSA:
        good = s->key == 3 && sign_ed(k, data, n, sig, &room);
        break;
    default:
        return CKR_MECHANISM_INVALID;
    }
    if (!good)
        return CKR_FUNCTION_FAILED;
    fake.tokens[s->token].signatures++;
    *len = room;
    return CKR_OK;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    static CK_FUNCTION_LIST functions = {
        .version = {2, 40},
        .C_Initialize = initialize,
        .C_Finalize = finalize,
        .C_GetInfo = get_info,
        .C_GetFunctionList = C_GetFunctionList,
        .C_GetSlotList = get_slot_list,
        .C_GetSlotInfo = get_slot_info,
        .C_GetTokenInfo = get_token_info,
        .C_OpenSession = open_session,
        .C_CloseSession = close_session,
        .C_Login = login,
        .C_Logout = logout,
        .C_FindObjectsInit = find_init,
        .C_FindObjects = find_objects,
        .C_FindObjectsFinal = find_final,
        .C_GetAttributeValue = get_attributes,
        .C_SignInit = sign_init,
        .C_Sign = sign,
    };

    *list = &functions;
    return CKR_OK;
}
