/* The keys on cards and where they are. */
#include "agent/scd.h"

#include <string.h>
#include <strings.h>

#define PIV(id, ref)                      \
    {                                     \
        "piv-" id, "PIV." ref, NULL, NULL \
    }
static const struct {
    const char *slot, *ref, *number, *name;
} places[] = {
    {"sig", "OPENPGP.1", "1", "$SIGNKEYID"},
    {"dec", "OPENPGP.2", "2", "$ENCRKEYID"},
    {"aut", "OPENPGP.3", "3", "$AUTHKEYID"},
    PIV("9a", "9A"),
    PIV("9c", "9C"),
    PIV("9d", "9D"),
    PIV("9e", "9E"),
    PIV("82", "82"),
    PIV("83", "83"),
    PIV("84", "84"),
    PIV("85", "85"),
    PIV("86", "86"),
    PIV("87", "87"),
    PIV("88", "88"),
    PIV("89", "89"),
    PIV("8a", "8A"),
    PIV("8b", "8B"),
    PIV("8c", "8C"),
    PIV("8d", "8D"),
    PIV("8e", "8E"),
    PIV("8f", "8F"),
    PIV("90", "90"),
    PIV("91", "91"),
    PIV("92", "92"),
    PIV("93", "93"),
    PIV("94", "94"),
    PIV("95", "95"),
};
#define PLACES (sizeof places / sizeof places[0])

static const char *any_slot_of(const char *ref)
{
    for (size_t i = 0; i < PLACES; i++)
        if (strcasecmp(places[i].ref, ref) == 0 ||
            (places[i].number != NULL &&
             (strcmp(places[i].number, ref) == 0 || strcasecmp(places[i].name, ref) == 0)))
            return places[i].slot;
    return NULL;
}

const char *scd_slot_of(const char *ref)
{
    const char *slot = any_slot_of(ref);

    return slot != NULL && strncmp(slot, "piv-", 4) != 0 ? slot : NULL;
}

const char *scd_ref_of(const char *slot)
{
    for (size_t i = 0; i < PLACES; i++)
        if (strcmp(places[i].slot, slot) == 0)
            return places[i].ref;
    return "";
}

bool scd_is_piv(const struct scd_key *k)
{
    return strncmp(k->ref, "PIV.", 4) == 0;
}

const char *scd_usage(const struct scd_key *k)
{
    if (strcmp(k->slot, "sig") == 0)
        return "sc";
    if (strcmp(k->slot, "dec") == 0 || (scd_is_piv(k) && k->id != NULL && !k->id->can_sign))
        return "e";
    return scd_is_piv(k) && k->id != NULL && k->id->can_encrypt ? "sae" : "sa";
}

void scd_grip(const struct identity *id, char out[GPG_GRIP_CHARS + 1])
{
    for (size_t i = 0; i < sizeof id->key->grip; i++)
        snprintf(out + 2 * i, 3, "%02X", id->key->grip[i]);
}

void scd_key_clear(struct scd_key *k)
{
    scd_card_close(&k->card);
    keyring_put(k->snap);
    *k = (struct scd_key){0};
}

static const struct identity *held_by(const struct keyring_snapshot *snap, const struct token *t,
                                      const char *slot)
{
    for (size_t i = 0; snap != NULL && i < snap->n; i++)
        for (size_t k = 0; snap->ids[i]->key->cert == NULL && k < snap->ids[i]->nholders; k++)
            if (snap->ids[i]->holders[k].token == t &&
                strcmp(snap->ids[i]->holders[k].id, slot) == 0)
                return snap->ids[i];
    return NULL;
}

gpg_error_t scd_key_in(struct gpg_session *s, const struct scd_card *c, const char *slot,
                       struct scd_key *out)
{
    const char *ref = scd_ref_of(slot);

    for (size_t i = 0; i < PLACES; i++)
        if (strcmp(places[i].ref, ref) == 0)
            slot = places[i].slot;
    *out = (struct scd_key){.card = {token_ref(c->token), token_info_get(c->token)},
                            .slot = slot,
                            .ref = ref,
                            .snap = keyring_get(s->a->keyring)};
    out->id = held_by(out->snap, c->token, slot);
    return out->card.info != NULL ? 0 : scd_fail(s, GPG_ERR_CARD_REMOVED, NULL);
}

static gpg_error_t find_grip(struct gpg_session *s, const char *word, struct scd_key *out)
{
    char grip[GPG_GRIP_CHARS + 1], own[GPG_GRIP_CHARS + 1];
    struct scd_card *cards = NULL;
    size_t n = 0;
    gpg_error_t err = gpg_parse_grip(s, word, grip);

    if (err == 0)
        err = gpg_map_error(s, scd_cards(s, &cards, &n), true);
    for (size_t i = 0; err == 0 && out->id == NULL && i < n; i++)
        for (size_t p = 0; err == 0 && out->id == NULL && p < PLACES; p++) {
            err = scd_key_in(s, &cards[i], places[p].slot, out);
            if (out->id != NULL)
                scd_grip(out->id, own);
            if (out->id == NULL || strcmp(own, grip) != 0)
                scd_key_clear(out);
        }
    scd_cards_free(cards, n);
    return err == 0 && out->id == NULL ? scd_fail(s, GPG_ERR_NO_SECKEY, NULL) : err;
}

/* "SERIAL" or "SERIAL/FINGERPRINT": the key for what is to be done, if the card is that one. */
static gpg_error_t find_on_serial(struct gpg_session *s, const char *word, const char *slot,
                                  struct scd_key *out)
{
    size_t n = strspn(word, "0123456789ABCDEFabcdef");
    struct scd_card c = {0};
    gpg_error_t err;

    if (slot == NULL || n != 32 || (word[n] != '\0' && word[n] != '/'))
        return scd_fail(s, GPG_ERR_INV_ID, NULL);
    err = scd_card_open(s, &c);
    if (err == 0 && strncasecmp(c.info->aid, word, n) != 0)
        err = scd_fail(s, GPG_ERR_WRONG_CARD, NULL);
    if (err == 0)
        err = scd_key_in(s, &c, slot, out);
    scd_card_close(&c);
    return err;
}

gpg_error_t scd_key_find(struct gpg_session *s, const char *word, const char *slot,
                         struct scd_key *out)
{
    const char *named = any_slot_of(word);
    struct scd_card c = {0};
    gpg_error_t err = scd_allowed(s);

    *out = (struct scd_key){0};
    if (err != 0)
        return err;
    if (strlen(word) == GPG_GRIP_CHARS)
        return scd_lock_is_others(gpg_cards_lock(s->a->gpg), s->origin.id)
                   ? scd_fail(s, GPG_ERR_LOCKED, NULL)
                   : find_grip(s, word, out);
    if (named == NULL)
        return find_on_serial(s, word, slot, out);
    err = scd_card_open(s, &c);
    if (err == 0)
        err = scd_key_in(s, &c, named, out);
    scd_card_close(&c);
    return err;
}

gpg_error_t scd_each_key(struct gpg_session *s, const struct scd_card *c,
                         gpg_error_t (*tell)(struct gpg_session *s, const struct scd_key *k,
                                             void *arg),
                         void *arg)
{
    gpg_error_t err = 0;

    for (size_t i = 0; i < PLACES && err == 0; i++) {
        struct scd_key k = {0};

        err = scd_key_in(s, c, places[i].slot, &k);
        if (err == 0 && k.id != NULL)
            err = tell(s, &k, arg);
        scd_key_clear(&k);
    }
    return err;
}
