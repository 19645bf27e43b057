/* A networks file in any shape: refused in one line, or read, and then read again from the
 * journal's form. The bytes after a NUL are facts as of a journal: whatever they say, there is a
 * choice, or a time to ask again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "fuzz.h"
#include "netsel/netsel_json.h"
#include "netsel/networks_json.h"

static void check_sentence(const char *text)
{
    json_t *utf8 = json_string(text); /* NULL for what is not UTF-8 */
    MUST(utf8 && *text && !strchr(text, '\n'));
    json_decref(utf8);
}

/* Of the exact size, so that the sanitizer sees a read past the end. */
static bool load(const char *text, size_t len, struct netsel_wish *w)
{
    struct qf_err err = {.text = ""};
    char *own = malloc(len > 0 ? len : 1);
    MUST(own);
    if (len > 0)
        memcpy(own, text, len);
    const int rc = networks_load("n.json", own, len, w, &err);
    free(own);
    if (rc != 0)
        check_sentence(err.text);
    return rc == 0;
}

static void check_again(const struct netsel_wish *w)
{
    static struct netsel_wish again;
    json_t *o = netsel_dump_wish(w);
    MUST(netsel_load_wish(o, &again));
    MUST(memcmp(w, &again, sizeof(again)) == 0);
    json_decref(o);
}

static void choose(const struct netsel_wish *w, const char *text, size_t len)
{
    static struct netsel_facts facts;
    static struct netsel_choice choice;
    json_t *o = json_loadb(text, len, 0, NULL);
    memset(&facts, 0, sizeof(facts));
    if (o && netsel_load_facts(o, &facts))
        netsel_plan(w, &facts);
    json_decref(o);
    MUST(facts.n_paths <= NETSEL_PATHS_MAX);
    netsel_choose(w, &facts, &choice);
    MUST(choice.n == w->n && choice.chosen < (int)choice.n);
    MUST(choice.is_decided || choice.ask_again_ms > facts.waited_ms);
    MUST(choice.chosen < 0 || choice.candidate[choice.chosen].usable);
    json_decref(netsel_dump_candidates(&choice));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct netsel_wish w;
    const char *text = (const char *)data;
    const char *nul = size > 0 ? memchr(text, '\0', size) : NULL;
    const size_t len = nul ? (size_t)(nul - text) : size;
    json_object_seed(1); /* the same run for the same input */
    memset(&w, 0, sizeof(w));
    if (!load(text, len, &w))
        return 0;
    check_again(&w);
    choose(&w, nul ? nul + 1 : "", nul ? size - len - 1 : 0);
    return 0;
}
