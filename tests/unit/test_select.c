/* Which policy labels choose: what matches, what wins, how it is explained, what is refused. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fault.h"
#include "policy/policy_json.h"
#include "policy/select.h"

enum { POLICIES_MAX = 5, LABELS_GIVEN_MAX = 4, TEXT_SIZE = 4096 };

static struct fixture {
    struct select *s;
    struct qf_err err;
    char text[TEXT_SIZE];  /* the explanation */
    long allocations_left; /* below 0: plenty */
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.allocations_left = -1;
    f.s = select_new();
    ck_assert_ptr_nonnull(f.s);
}

static void teardown(void)
{
    select_free(f.s);
}

static void must(int rc)
{
    ck_assert_msg(rc == 0, "%s", f.err.text);
}

static int policy(const char *origin, const char *text)
{
    return select_policy(f.s, origin, text, strlen(text), &f.err);
}

static const char *chosen(void)
{
    const struct policy *p = select_choose(f.s);
    return p ? p->name : NULL;
}

static void on_text(const char *text, void *arg)
{
    (void)arg;
    ck_assert_uint_lt(strlen(f.text) + strlen(text), sizeof(f.text));
    (void)strcat(f.text, text);
}

static const char *explained(void)
{
    struct policy fallback;
    must(policy_preset_load("minimal-downtime", &fallback, &f.err));
    f.text[0] = '\0';
    select_explain(f.s, &fallback, "the default holds", on_text, NULL);
    return f.text;
}

#define VM(labels) "{\"selectors\": {\"vm\": {\"matchLabels\": {" labels "}}}}"
#define NS(labels) "{\"selectors\": {\"namespace\": {\"matchLabels\": {" labels "}}}}"
#define BOTH(vm, ns)                                        \
    "{\"selectors\": {\"vm\": {\"matchLabels\": {" vm "}}," \
    " \"namespace\": {\"matchLabels\": {" ns "}}}}"

/* --- what wins, and why --- */

static const struct choice {
    const char *vm[LABELS_GIVEN_MAX];
    const char *ns[LABELS_GIVEN_MAX];
    struct {
        const char *origin;
        const char *text;
    } policy[POLICIES_MAX];
    const char *explained; /* the lines after those of the labels */
    const char *wins;
} choices[] = {
    /* 0: nothing to choose from */
    {{"a=1"},
     {NULL},
     {{0}},
     "policy minimal-downtime: none matches, so the default holds\n",
     NULL},
    /* 1: without selectors a policy is for nobody, with empty ones for everybody */
    {{"a=1"},
     {NULL},
     {{"d/none.json", "{}"}},
     "none.json: none does not match: it has no selectors\n"
     "policy minimal-downtime: none matches, so the default holds\n",
     NULL},
    {{NULL},
     {NULL},
     {{"d/any.json", "{\"selectors\": {}}"}},
     "any.json: any matches: wants no label\n"
     "policy any: the only one that matches\n",
     "any"},
    /* 3: empty maps ask for nothing either */
    {{"a=1"},
     {NULL},
     {{"d/any.json", BOTH("", "")}},
     "any.json: any matches: wants no label\n"
     "policy any: the only one that matches\n",
     "any"},
    /* 4: all labels of both selectors must be there, with their value */
    {{"size=large"},
     {"zone=a"},
     {{"a.json", BOTH("\"size\": \"large\"", "\"zone\": \"a\"")},
      {"b.json", BOTH("\"size\": \"large\"", "\"zone\": \"b\"")},
      {"c.json", BOTH("\"size\": \"large\", \"os\": \"bsd\"", "\"zone\": \"a\"")},
      {"d.json", NS("\"size\": \"large\"")},
      {"e.json", VM("\"size\": \"Large\"")}},
     "a.json: a matches: size=large of the VM, zone=a of the namespace\n"
     "b.json: b does not match: wants zone=b of the namespace, which has zone=a\n"
     "c.json: c does not match: wants os=bsd of the VM, which has no os\n"
     "d.json: d does not match: wants size=large of the namespace, which has no size\n"
     "e.json: e does not match: wants size=Large of the VM, which has size=large\n"
     "policy a: the only one that matches\n",
     "a"},
    /* 5: a VM without labels has none of those that are asked for */
    {{NULL},
     {"zone=a"},
     {{"a.json", BOTH("\"size\": \"large\"", "\"zone\": \"a\"")}},
     "a.json: a does not match: wants size=large of the VM, which has no size\n"
     "policy minimal-downtime: none matches, so the default holds\n",
     NULL},
    /* 6: the most labels win, of the VM and of the namespace together */
    {{"a=1", "b=2"},
     {"c=3"},
     {{"a.json", VM("\"a\": \"1\", \"b\": \"2\"")},
      {"z.json", BOTH("\"b\": \"2\", \"a\": \"1\"", "\"c\": \"3\"")},
      {"any.json", "{\"selectors\": {}}"}},
     "a.json: a matches: a=1 of the VM, b=2 of the VM\n"
     "z.json: z matches: a=1 of the VM, b=2 of the VM, c=3 of the namespace\n"
     "any.json: any matches: wants no label\n"
     "policy z: the most labels, 3; the next is a with 2\n",
     "z"},
    /* 7: ties by the keys in their order, whosever they are; upper case comes first */
    {{"b=1", "c=1"},
     {"a=1", "B=1"},
     {{"1.json", VM("\"c\": \"1\", \"b\": \"1\"")},
      {"2.json", BOTH("\"c\": \"1\"", "\"a\": \"1\"")},
      {"3.json", NS("\"a\": \"1\", \"B\": \"1\"")}},
     "1.json: 1 matches: b=1 of the VM, c=1 of the VM\n"
     "2.json: 2 matches: a=1 of the namespace, c=1 of the VM\n"
     "3.json: 3 matches: B=1 of the namespace, a=1 of the namespace\n"
     "policy 3: 2 labels as 2 has, but B sorts before a\n",
     "3"},
    /* 8: the same keys: by the policies' names, not those of their files */
    {{"a=1"},
     {"a=1"},
     {{"1.json", "{\"name\": \"second\", \"selectors\": {\"vm\": {\"a\": \"1\"}}}"},
      {"2.json", "{\"name\": \"first\", \"selectors\": {\"namespace\": {\"a\": \"1\"}}}"}},
     "1.json: second matches: a=1 of the VM\n"
     "2.json: first matches: a=1 of the namespace\n"
     "policy first: 1 label with the same keys as second has, but its name sorts before\n",
     "first"},
    /* 9: KubeVirt's spelling, with and without matchLabels */
    {{"a=1"},
     {"b="},
     {{"1.json", "{\"selectors\": {\"virtualMachineInstanceSelector\": {\"a\": \"1\"},"
                 " \"namespaceSelector\": {\"matchLabels\": {\"b\": \"\"}}}}"}},
     "1.json: 1 matches: a=1 of the VM, b= of the namespace\n"
     "policy 1: the only one that matches\n",
     "1"},
    /* 10: a label may be called as the group is */
    {{"matchLabels=1"},
     {NULL},
     {{"1.json", VM("\"matchLabels\": \"1\"")},
      {"2.json", "{\"selectors\": {\"vm\": {\"matchLabels\": \"1\"}}}"}},
     "1.json: 1 matches: matchLabels=1 of the VM\n"
     "2.json: 2 matches: matchLabels=1 of the VM\n"
     "policy 1: 1 label with the same keys as 2 has, but its name sorts before\n",
     "1"},
};
enum { N_CHOICES = sizeof(choices) / sizeof(choices[0]) };

static void give(enum label_of of, const char *const *labels)
{
    for (size_t i = 0; i < LABELS_GIVEN_MAX && labels[i]; i++)
        must(select_label(f.s, of, labels[i], &f.err));
}

START_TEST(most_labels_then_keys_then_names)
{
    const struct choice *c = &choices[_i];
    give(LABEL_VM, c->vm);
    give(LABEL_NAMESPACE, c->ns);
    for (size_t i = 0; i < POLICIES_MAX && c->policy[i].text; i++)
        must(policy(c->policy[i].origin, c->policy[i].text));
    ck_assert_pstr_eq(chosen(), c->wins);
    const char *after = strchr(explained(), '\n') + 1; /* the labels of the VM ... */
    after = strchr(after, '\n') + 1;                   /* ... and of the namespace */
    ck_assert_str_eq(after, c->explained);
}
END_TEST

/* The same files in another order. */
START_TEST(order_of_the_files_does_not_matter)
{
    const struct choice *c = &choices[_i];
    give(LABEL_VM, c->vm);
    give(LABEL_NAMESPACE, c->ns);
    for (size_t i = POLICIES_MAX; i-- > 0;)
        if (c->policy[i].text)
            must(policy(c->policy[i].origin, c->policy[i].text));
    ck_assert_pstr_eq(chosen(), c->wins);
}
END_TEST

START_TEST(labels_are_shown_as_given)
{
    must(select_label(f.s, LABEL_VM, "size=large", &f.err));
    must(select_label(f.s, LABEL_VM, "app.kubernetes.io/name=web", &f.err));
    must(select_label(f.s, LABEL_VM, "size=large", &f.err)); /* once more: nothing new */
    ck_assert_str_eq(explained(),
                     "labels of the VM: size=large, app.kubernetes.io/name=web\n"
                     "labels of the namespace: none\n"
                     "policy minimal-downtime: none matches, so the default holds\n");
}
END_TEST

START_TEST(chosen_policy_is_the_whole_file)
{
    must(policy("a.json", "{\"downtime\": {\"max\": \"7s\"}, \"selectors\": {}}"));
    ck_assert_ptr_nonnull(select_choose(f.s));
    ck_assert_uint_eq(select_choose(f.s)->downtime_max_ms, 7000);
    ck_assert_uint_eq(select_choose(f.s)->downtime_start_ms, 100);
}
END_TEST

/* --- what is refused, word for word --- */

static const struct {
    const char *text;
    const char *error;
} faults[] = {
    {"{\n\"selectors\": []}",
     "my.json:2: selectors: a list is not a group of selectors; write {\"vm\": "
     "{\"matchLabels\": {\"KEY\": \"VALUE\"}}}"},
    {"{\"selectors\": null}",
     "my.json:1: selectors: null is not a group of selectors; write {\"vm\": "
     "{\"matchLabels\": {\"KEY\": \"VALUE\"}}}"},
    {"{\"selector\": {}}", "my.json:1: selector: unknown field; did you mean selectors?"},
    {"{\"selectors.vm\": {}}",
     "my.json:1: selectors.vm: unknown field; did you mean selectors?"},
    {"{\"selectors\": {\n\"namespaces\": {}}}",
     "my.json:2: selectors.namespaces: unknown field; did you mean namespace?"},
    {"{\"selectors\": {\"node\": {}}}",
     "my.json:1: selectors.node: unknown field; there are vm, namespace, "
     "virtualMachineInstanceSelector, namespaceSelector"},
    {"{\"selectors\": {\"vm\": {},\n\"virtualMachineInstanceSelector\": {}}}",
     "my.json:2: selectors.virtualMachineInstanceSelector: the same selector under two "
     "names; drop one"},
    {"{\"selectors\": {\"vm\": \"size=large\"}}",
     "my.json:1: selectors.vm: \"size=large\" is not a set of labels; write {\"KEY\": "
     "\"VALUE\"}"},
    {"{\"selectors\": {\"vm\": {\"matchLabels\": [\"a\"]}}}",
     "my.json:1: selectors.vm.matchLabels: a list is not a set of labels; write {\"KEY\": "
     "\"VALUE\"}"},
    {"{\"selectors\": {\"vm\": {\"matchLabels\": {},\n\"matchExpressions\": [{}]}}}",
     "my.json:2: selectors.vm.matchExpressions: only matchLabels is known; write the "
     "labels there"},
    {"{\"selectors\": {\"vm\": {\"matchLabels\": {},\n\"size\": \"large\"}}}",
     "my.json:2: selectors.vm.size: stands beside matchLabels; write it inside"},
    {VM("\"a\": \"1\",\n\"gpu\": true"),
     "my.json:2: selectors.vm.matchLabels.gpu: true is not a text in quotes"},
    {NS("\"\": \"1\""),
     "my.json:1: selectors.namespace.matchLabels.: not a label's key: it is empty"},
    {VM("\"a b\": \"1\""),
     "my.json:1: selectors.vm.matchLabels.a b: not a label's key: write "
     "letters, digits and, between them, - _ or dots"},
    {VM("\"-a\": \"1\""),
     "my.json:1: selectors.vm.matchLabels.-a: not a label's key: write "
     "letters, digits and, between them, - _ or dots"},
    {VM("\"a/\": \"1\""), "my.json:1: selectors.vm.matchLabels.a/: not a label's key: "
                          "nothing stands on one side of the slash"},
    {VM("\"/a\": \"1\""), "my.json:1: selectors.vm.matchLabels./a: not a label's key: "
                          "nothing stands on one side of the slash"},
    {VM("\"a/b/c\": \"1\""),
     "my.json:1: selectors.vm.matchLabels.a/b/c: not a label's key: "
     "write letters, digits and, between them, - _ or dots"},
    {VM("\"a\": \"1 \""), "my.json:1: selectors.vm.matchLabels.a: \"1 \" is not a label's "
                          "value: write letters, digits and, between them, - _ or dots"},
    {VM("\"a\": \"0123456789012345678901234567890123456789012345678901234567890123\""),
     "my.json:1: selectors.vm.matchLabels.a: \"0123456789012345678901234567890123456789...\" "
     "is not a label's value: at most 63 bytes"},
    /* the line of the label, not of one whose key it begins with */
    {VM("\"app\": \"1\",\n\"app.kubernetes.io/name\": 1"),
     "my.json:2: selectors.vm.matchLabels.app.kubernetes.io/name: 1 is not a text in "
     "quotes"},
    {"{\"downtime\": {\"max\": 0}, \"selectors\": {}}",
     "my.json:1: downtime.max: 0 ms is outside of what QEMU takes; write 1ms to 2000s"},
};
enum { N_FAULTS = sizeof(faults) / sizeof(faults[0]) };

START_TEST(fault_of_a_selector_is_named_by_every_reader)
{
    struct policy p;
    ck_assert_int_eq(policy("my.json", faults[_i].text), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, faults[_i].error);
    ck_assert_ptr_null(select_choose(f.s));
    f.err.text[0] = '\0';
    ck_assert_int_eq(
        policy_load("my.json", faults[_i].text, strlen(faults[_i].text), &p, &f.err),
        -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, faults[_i].error);
}
END_TEST

static const struct {
    const char *label;
    const char *error; /* NULL: taken */
} labels[] = {
    {"a=", NULL},
    {"a=1", NULL},
    {"A.b-c_9/x.Y-z_0=A.b-c_9", NULL},
    {"a", "'a' is not KEY=VALUE"},
    {"", "'' is not KEY=VALUE"},
    {"=1", "'=1' does not begin with a label's key: it is empty"},
    {"a =1", "'a =1' does not begin with a label's key: write letters, digits and, between "
             "them, - _ or dots"},
    {"a=1=2", "'a=1=2' does not end with a label's value: write letters, digits and, "
              "between them, - _ or dots"},
    {"a=\n", "'a=?' does not end with a label's value: write letters, digits and, between "
             "them, - _ or dots"},
    {"a=\xff", "'a=?' does not end with a label's value: write letters, digits and, "
               "between them, - _ or dots"},
    {"b=2", "'b=2', but b=1 was given before"},
};
enum { N_LABELS = sizeof(labels) / sizeof(labels[0]) };

START_TEST(a_label_is_a_key_and_a_value)
{
    must(select_label(f.s, LABEL_VM, "b=1", &f.err));
    must(select_label(f.s, LABEL_NAMESPACE, "a=9", &f.err)); /* another's: no matter */
    const int rc = select_label(f.s, LABEL_VM, labels[_i].label, &f.err);
    if (!labels[_i].error) {
        must(rc);
        return;
    }
    ck_assert_int_eq(rc, -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, labels[_i].error);
}
END_TEST

START_TEST(labels_may_be_as_long_as_those_of_kubernetes)
{
    char text[LABEL_KEY_MAX + LABEL_VALUE_MAX + 3];
    memset(text, 'x', sizeof(text));
    text[253] = '/';
    text[LABEL_KEY_MAX] = '=';
    text[sizeof(text) - 1] = '\0';
    ck_assert_int_ne(select_label(f.s, LABEL_VM, text, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "a label's value: at most 63 bytes"));
    text[sizeof(text) - 2] = '\0';
    must(select_label(f.s, LABEL_VM, text, &f.err));
    text[254] = '='; /* one more before the slash */
    ck_assert_int_ne(select_label(f.s, LABEL_VM, text, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "nothing stands on one side of the slash"));
    text[254] = 'x';
    memmove(text + 254, text + 253, LABEL_KEY_MAX - 253);
    text[253] = 'x';
    text[LABEL_KEY_MAX] = '=';
    ck_assert_int_ne(select_label(f.s, LABEL_VM, text, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "at most 253 bytes before the slash"));
    memset(text, 'x', 64);
    memcpy(text + 64, "=1", 3);
    ck_assert_int_ne(select_label(f.s, LABEL_VM, text, &f.err), 0);
    ck_assert_ptr_nonnull(strstr(f.err.text, "a label's key: at most 63 bytes"));
}
END_TEST

START_TEST(one_label_too_many_is_refused)
{
    char text[LABELS_MAX * 32 + 64] = "{\"selectors\": {\"vm\": {";
    char label[32];
    for (int i = 0; i < LABELS_MAX; i++) {
        (void)snprintf(label, sizeof(label), "a%d=1", i);
        must(select_label(f.s, LABEL_VM, label, &f.err));
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "\"a%d\": \"1\",",
                       i);
    }
    const size_t n = strlen(text);
    ck_assert_int_ne(select_label(f.s, LABEL_VM, "one-more=1", &f.err), 0);
    ck_assert_str_eq(f.err.text, "more than 64 labels");
    must(select_label(f.s, LABEL_VM, "a0=1", &f.err));
    must(select_label(f.s, LABEL_NAMESPACE, "a0=1", &f.err));
    (void)snprintf(text + n, sizeof(text) - n, "\"b\": \"1\"}}}");
    ck_assert_int_ne(policy("my.json", text), 0);
    ck_assert_str_eq(f.err.text, "my.json:1: selectors.vm: 65 labels; write at most 64");
    (void)snprintf(text + n - 1, sizeof(text) - n + 1, "}}}");
    must(policy("my.json", text));
    ck_assert_pstr_eq(chosen(), "my");
}
END_TEST

START_TEST(two_policies_of_one_name_are_refused)
{
    must(policy("dir/a.json", "{}"));
    ck_assert_int_eq(policy("dir/b.json", "{\n\"name\": \"a\"}"), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text,
                     "dir/b.json:2: name: a is the name of a.json, too; records "
                     "would not tell which it was");
}
END_TEST

START_TEST(one_policy_too_many_is_refused)
{
    char origin[32];
    for (int i = 0; i < SELECT_POLICIES_MAX; i++) {
        (void)snprintf(origin, sizeof(origin), "%d.json", i);
        must(policy(origin, "{}"));
    }
    ck_assert_int_eq(policy("more.json", "{}"), -(int)QF_E_USAGE);
    ck_assert_str_eq(f.err.text, "more.json: more than 256 policies");
}
END_TEST

START_TEST(selectors_cannot_be_set)
{
    struct policy p;
    must(policy_preset_load("minimal-downtime", &p, &f.err));
    ck_assert_int_ne(policy_set(&p, "selectors.vm=x", &f.err), 0);
    ck_assert_str_eq(f.err.text,
                     "selectors.vm: cannot be set: it says whom a policy file is "
                     "for; write a policy file");
}
END_TEST

/* --- without memory --- */

static void *scarce_malloc(size_t size)
{
    if (f.allocations_left == 0)
        return NULL;
    if (f.allocations_left > 0)
        f.allocations_left--;
    return malloc(size);
}

/* Whatever fails is said, and a policy that was not added cannot win. */
START_TEST(no_memory_is_an_error_and_leaks_nothing)
{
    long n = 0;
    long failures = 0;
    long left;
    json_set_alloc_funcs(scarce_malloc, free);
    do {
        f.allocations_left = n++;
        struct select *s = select_new();
        int rc = s ? select_label(s, LABEL_VM, "a=1", &f.err) : -(int)QF_E_NOMEM;
        const char *text = BOTH("\"a\": \"1\"", "");
        if (rc == 0)
            rc = select_policy(s, "a.json", text, strlen(text), &f.err);
        /* jansson takes some of these for errors of syntax */
        ck_assert(rc == 0 || rc == -(int)QF_E_NOMEM || rc == -(int)QF_E_USAGE);
        ck_assert(rc == 0 ? select_choose(s) != NULL : !s || !select_choose(s));
        left = f.allocations_left;
        failures += rc != 0;
        f.allocations_left = -1;
        select_free(s);
    } while (left == 0);
    json_set_alloc_funcs(malloc, free);
    ck_assert_int_gt(failures, 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select");
    TCase *choice = tcase_create("choice");
    tcase_add_checked_fixture(choice, setup, teardown);
    tcase_add_loop_test(choice, most_labels_then_keys_then_names, 0, N_CHOICES);
    tcase_add_loop_test(choice, order_of_the_files_does_not_matter, 0, N_CHOICES);
    tcase_add_test(choice, labels_are_shown_as_given);
    tcase_add_test(choice, chosen_policy_is_the_whole_file);
    suite_add_tcase(suite, choice);
    TCase *refused = tcase_create("refused");
    tcase_add_checked_fixture(refused, setup, teardown);
    tcase_add_loop_test(refused, fault_of_a_selector_is_named_by_every_reader, 0, N_FAULTS);
    tcase_add_loop_test(refused, a_label_is_a_key_and_a_value, 0, N_LABELS);
    tcase_add_test(refused, labels_may_be_as_long_as_those_of_kubernetes);
    tcase_add_test(refused, one_label_too_many_is_refused);
    tcase_add_test(refused, two_policies_of_one_name_are_refused);
    tcase_add_test(refused, one_policy_too_many_is_refused);
    tcase_add_test(refused, selectors_cannot_be_set);
    tcase_add_test(refused, no_memory_is_an_error_and_leaks_nothing);
    suite_add_tcase(suite, refused);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
