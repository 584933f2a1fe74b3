#include "agent/operation.h"

#include <string.h>

static gpg_error_t token_facts(const struct identity *id, struct facts *f)
{
    f->tokens = gpgrt_calloc(id->nholders + 1, sizeof *f->tokens);
    f->infos = gpgrt_calloc(id->nholders + 1, sizeof *f->infos);
    if (f->tokens == NULL || f->infos == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < id->nholders; i++) {
        const struct token_info *info = token_info_get(id->holders[i].token);

        if (info == NULL)
            continue;
        f->infos[f->ntokens] = info;
        f->tokens[f->ntokens++] = (struct policy_token){.kind = info->kind,
                                                        .serial = info->serial,
                                                        .soft = info->soft,
                                                        .slot = id->holders[i].id};
    }
    return 0;
}

static void hex20(const uint8_t in[20], char out[41])
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < 20; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[40] = '\0';
}

gpg_error_t facts_make(const struct origin *from, const struct identity *id,
                       const struct destination *dest, struct facts *out)
{
    struct facts f = {.f = {.forwarded = TRI_NO, .now = time(NULL)}};
    const struct requester *who = from->who;
    gpg_error_t err;

    if (id->key != NULL) {
        hex20(id->key->grip, f.grip);
        f.f.key_fpr = id->key->fpr;
        f.f.key_comment = id->comment;
    }
    if (id->has_openpgp)
        hex20(id->openpgp_fpr, f.openpgp);
    if (id->key != NULL && id->key->plain != NULL) {
        f.b64 = b64_encode(id->key->plain, id->key->plain_len);
        if (f.b64 == NULL)
            return gpg_error_from_syserror();
        f.f.key_b64 = f.b64;
    }
    err = token_facts(id, &f);
    if (err != 0)
        goto fail;
    f.f.tokens = f.tokens;
    f.f.ntokens = f.ntokens;
    if (dest != NULL) {
        size_t nvia = 0;

        err = destination_facts(dest, &f.f.dest, &f.via, &nvia);
        if (err != 0)
            goto fail;
        f.f.proof = dest->proof;
        f.f.via = f.via;
        f.f.nvia = nvia;
        f.f.via_known = dest->forwarded != TRI_UNKNOWN;
        f.f.forwarded = dest->forwarded;
    } else {
        f.f.via_known = true;
        f.f.forwarded = from->extra_socket ? TRI_YES : TRI_NO;
    }
    if (who != NULL) {
        f.f.client = who->exe;
        f.f.parents = (const char *const *)who->parents;
        while (who->parents != NULL && who->parents[f.f.nparents] != NULL)
            f.f.nparents++;
        f.f.unit = who->unit;
    }
    *out = f;
    /* Arrays inside the struct move with it. */
    out->f.key_grip = id->key != NULL ? out->grip : NULL;
    out->f.key_openpgp = id->has_openpgp ? out->openpgp : NULL;
    return 0;
fail:
    facts_clear(&f);
    return err;
}

void facts_clear(struct facts *f)
{
    for (size_t i = 0; i < f->ntokens; i++)
        token_info_put(f->infos[i]);
    gpgrt_free(f->infos);
    gpgrt_free(f->tokens);
    gpgrt_free(f->via);
    gpgrt_free(f->b64);
    *f = (struct facts){0};
}
