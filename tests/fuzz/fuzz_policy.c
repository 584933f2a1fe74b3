/* Policy files: whatever the text, it loads or it is explained why not; what loads can be judged by, printed, compared. */
#include "policy/policy.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"host.example"};
    static const struct policy_host host = {.fpr = "SHA256:x", .names = names, .nnames = 1};
    static const struct policy_token token = {.kind = "gnuk", .serial = "0001", .slot = "aut"};
    static const char *const uses[] = {"ssh-auth", "sshsig:git", "raw", "git-commit"};
    struct policy_errors errors = {0};
    struct policy_set *p = NULL;
    char *changes = NULL;
    FILE *null;

    fuzz_init();
    if (policy_load_text("fuzz", (const char *)data, size, "/nonexistent", &p, &errors) != 0) {
        REQUIRE(errors.n > 0);
        policy_errors_free(&errors);
        return 0;
    }
    REQUIRE(errors.n == 0);
    for (size_t i = 0; i < 8; i++) {
        struct policy_facts f = {.use = uses[i % 4],
                                 .dest = i < 4 ? &host : NULL,
                                 .proof = i < 4 ? PROOF_HOSTBOUND : PROOF_NONE,
                                 .tokens = &token,
                                 .ntokens = 1,
                                 .key_comment = "key",
                                 .forwarded = i < 4 ? TRI_NO : TRI_UNKNOWN,
                                 .via_known = i < 4,
                                 .client = "/usr/bin/ssh"};
        struct policy_verdict v;

        policy_evaluate(p, &f, &v);
        REQUIRE(v.nrates <= POLICY_MAX_RATES && v.touch <= TOUCH_ALWAYS &&
                (v.allow || v.why != NULL));
    }
    REQUIRE(!policy_loosens(p, p, &changes));
    gpgrt_free(changes);
    null = fopen("/dev/null", "w");
    if (null != NULL) {
        policy_print(p, null);
        fclose(null);
    }
    policy_unref(p);
    return 0;
}
