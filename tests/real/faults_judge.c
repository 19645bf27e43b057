/* What must hold after a cell:
 *
 *   one side runs the guest, at no time did both, its memory is what it was, and qferry said that
 *   side; or the guest is lost, qferry says so, and that loss is one of those that are documented
 *
 *   nothing is left: no setting of a QEMU's that was not there before, no object, no key, no control
 *   socket, no process, no file but the journal
 *
 * A qferry that holds (exit 7 though the guest can be saved) is run again: that must finish it. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/real/faults.h"

enum { END_MS = 240 * 1000 /* of qferry, at the latest */ };

const char *const verdict_names[BAD + 1] = {"ok", "lost, as documented", "held, then ok",
                                            "BAD"};

/* ---- what qferry said ---- */

struct said {
    int exit;
    char outcome[32];
    char place[32];
    char reason[FAULTS_TEXT];
};

static bool read_result(struct said *said)
{
    int status;
    *said = (struct said){.exit = -1};
    if (lab_proc_wait(w.qferry, END_MS, &status) != 0) {
        faults_say("qferry does not end");
        return false;
    }
    if (!WIFEXITED(status)) {
        faults_say("qferry died of signal %d", WTERMSIG(status));
        return false;
    }
    said->exit = WEXITSTATUS(status);
    const char *out = lab_proc_stdout(w.qferry);
    const char *last = out;
    for (const char *p = out; (p = strchr(p, '\n')) && p[1] != '\0'; p++)
        last = p + 1;
    json_t *line = json_loads(last, JSON_DISABLE_EOF_CHECK, NULL);
    const char *type = json_string_value(json_object_get(line, "type"));
    const bool fine = type && strcmp(type, "result") == 0;
    if (fine) {
        const char *text = json_string_value(json_object_get(line, "outcome"));
        (void)snprintf(said->outcome, sizeof(said->outcome), "%s", text ? text : "");
        text = json_string_value(json_object_get(line, "running_on"));
        (void)snprintf(said->place, sizeof(said->place), "%s", text ? text : "");
        text = json_string_value(json_object_get(line, "reason"));
        (void)snprintf(said->reason, sizeof(said->reason), "%s", text ? text : "");
    } else {
        faults_say("exit %d without a result: %.200s", said->exit,
                   lab_proc_stderr(w.qferry));
    }
    json_decref(line);
    return fine;
}

/* ---- who runs it ---- */

/* Did this side run the guest at that time? By what its QEMU told; of one instant (both monitors were
 * read together) the stop counts. */
static bool ran_at(unsigned side, int64_t t_ns)
{
    bool is = side == FAULTS_SRC;
    for (size_t i = 0; i < lab_event_count(w.vm[side]); i++) {
        const struct lab_event *e = lab_event_at(w.vm[side], i);
        if (e->t_ns > t_ns)
            break;
        if (strcmp(e->name, "RESUME") == 0)
            is = true;
        else if (strcmp(e->name, "STOP") == 0)
            is = false;
    }
    const bool killed =
        w.cell.fault == (side == FAULTS_SRC ? FAULT_KILL_SOURCE : FAULT_KILL_DESTINATION) &&
        w.struck_ns != 0 && t_ns >= w.struck_ns;
    return is && !killed;
}

/* One that does not answer is what it said last: a main loop that hangs starts nothing. */
static bool runs(unsigned side)
{
    enum { ANSWER_MS = 15000 };
    char why[256];
    if (!lab_vm_alive(w.vm[side]))
        return false;
    json_t *answer =
        lab_qmp_try(w.vm[side], "query-status", NULL, ANSWER_MS, why, sizeof(why));
    const bool is = answer ? json_is_true(json_object_get(answer, "running"))
                           : lab_vm_alive(w.vm[side]) && ran_at(side, lab_now_ns());
    json_decref(answer);
    return is;
}

static bool both_ran(void)
{
    for (unsigned side = 0; side < 2; side++) {
        for (size_t i = 0; i < lab_event_count(w.vm[side]); i++) {
            const struct lab_event *e = lab_event_at(w.vm[side], i);
            if (strcmp(e->name, "RESUME") == 0 && ran_at(FAULTS_SRC, e->t_ns) &&
                ran_at(FAULTS_DST, e->t_ns))
                return true;
        }
    }
    return false;
}

/* The connection ended with the device state of a post-copy in it: before 10.2 nobody has the guest then. */
static bool was_package_lost(void)
{
    const bool network = w.cell.fault == FAULT_HOLE || w.cell.fault == FAULT_LINK_DOWN ||
                         w.cell.fault == FAULT_HOLE_BACK ||
                         w.cell.fault == FAULT_LINK_BACK || w.cell.fault == FAULT_RESET;
    return network && w.struck_ns != 0 &&
           faults_was_status(w.vm[FAULTS_SRC], "postcopy-paused") &&
           !faults_was_status(w.vm[FAULTS_SRC], "postcopy-device") &&
           !faults_was_status(w.vm[FAULTS_DST], "postcopy-active");
}

/* The guest cannot be had back: a side died that had a part of it, or all. */
static bool may_be_lost(void)
{
    return (w.cell.fault == FAULT_KILL_SOURCE &&
            !faults_was_status(w.vm[FAULTS_DST], "completed")) ||
           (w.cell.fault == FAULT_KILL_DESTINATION &&
            (faults_was_status(w.vm[FAULTS_SRC], "postcopy-active") ||
             faults_was_status(w.vm[FAULTS_SRC], "completed"))) ||
           was_package_lost();
}

static enum verdict judge_place(struct said *said, bool again);

/* A person looks, and gives the same command again. */
static enum verdict held(struct said *said)
{
    char first[160];
    (void)snprintf(first, sizeof(first), "%.150s", said->reason);
    world_find_ack();
    if (!world_begin_qferry() || !read_result(said))
        return BAD;
    const enum verdict v = judge_place(said, true);
    if (v == GOOD) {
        faults_say("held: %s", first);
    } else {
        const size_t n = strlen(w.note);
        (void)snprintf(w.note + n, sizeof(w.note) - n, "; held before that: %s", first);
    }
    return v == GOOD ? HELD : v;
}

static enum verdict judge_place(struct said *said, bool again)
{
    const bool on_src = runs(FAULTS_SRC);
    const bool on_dst = runs(FAULTS_DST);
    if ((on_src && on_dst) || both_ran()) {
        faults_say("TWO RUN: exit %d, %s, on %s", said->exit, said->outcome, said->place);
        return BAD;
    }
    /* a destination without its source runs on until it needs a page */
    if (!on_src && (!on_dst || w.cell.fault == FAULT_KILL_SOURCE) && may_be_lost()) {
        if (said->exit == 7 ||
            (said->exit == 0 && w.cell.fault == FAULT_KILL_DESTINATION)) {
            faults_say("exit %d: %.160s", said->exit, said->reason);
            return LOST;
        }
        faults_say("lost, but exit %d, %s, on %s", said->exit, said->outcome, said->place);
        return BAD;
    }
    if (said->exit == 7 && !again)
        return held(said);
    if (!on_src && !on_dst) {
        faults_say("NOBODY RUNS: exit %d, %s, on %s: %.200s", said->exit, said->outcome,
                   said->place, said->reason);
        return BAD;
    }
    const char *place = on_src ? "source" : "destination";
    /* run again it may find the guest back on the source, and a destination that is used up */
    const bool is_back =
        said->exit == 4 || said->exit == 5 || said->exit == 6 || (again && said->exit == 3);
    /* ... or one that hangs for good, as 7.2 does when the connection of its channels breaks: it is not to
     * be reached, and what was said when it was held stands */
    const bool hangs = again && on_src && said->exit == 6 && lab_vm_alive(w.vm[FAULTS_DST]);
    const bool right =
        hangs || (strcmp(said->place, place) == 0 && (on_src ? is_back : said->exit == 0));
    if (!right) {
        faults_say("it runs on the %s: exit %d, %s, on %s: %.200s", place, said->exit,
                   said->outcome, said->place, said->reason);
        return BAD;
    }
    if (lab_guest_verify(w.vm[on_src ? FAULTS_SRC : FAULTS_DST]) != 1) {
        faults_say("the guest's memory on the %s is not what it was", place);
        return BAD;
    }
    faults_say("exit %d, %s, on %s", said->exit, said->outcome, said->place);
    return GOOD;
}

/* ---- what is left ---- */

static const char *const sides[2] = {"source", "destination"};

/* The first part of `is` that was not so: a member, an element. */
static const json_t *first_other(const json_t *was, const json_t *is)
{
    size_t i;
    size_t k;
    const json_t *a;
    const json_t *b;
    void *at;
    json_array_foreach (is, i, a) {
        bool known = false;
        json_array_foreach (was, k, b)
            known = known || json_equal(a, b);
        if (!known)
            return a;
    }
    for (at = json_object_iter((json_t *)is); at;
         at = json_object_iter_next((json_t *)is, at))
        if (!json_equal(json_object_get(was, json_object_iter_key(at)),
                        json_object_iter_value(at)))
            return json_object_iter_value(at);
    return NULL;
}

static const char *key_of(const json_t *object, const json_t *value)
{
    for (void *at = json_object_iter((json_t *)object); at;
         at = json_object_iter_next((json_t *)object, at))
        if (json_object_iter_value(at) == value)
            return json_object_iter_key(at);
    return "";
}

static bool is_as_found(unsigned side, const char *what, const json_t *was, json_t *is)
{
    if (json_equal(was, is))
        return true;
    const json_t *other = first_other(was, is);
    char *text = other ? json_dumps(other, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    faults_say("LEFT: %s of the %s: %s %.120s", what, sides[side], key_of(is, other),
               text ? text : "something is missing");
    free(text);
    return false;
}

static bool has_credentials(const json_t *params)
{
    const char *creds = json_string_value(json_object_get(params, "tls-creds"));
    return creds && creds[0] != '\0';
}

/* The next qferry does not know what the first had found: only what is qferry's. */
static bool is_clean(unsigned side, bool knows)
{
    struct settings now;
    bool clean;
    if (!settings_read(w.vm[side], &now)) {
        faults_say("LEFT: the %s does not answer", sides[side]);
        return false;
    }
    clean = is_as_found(side, "objects", w.found[side].objects, now.objects);
    if (clean && has_credentials(now.params)) {
        faults_say("LEFT: tls-creds of the %s is set", sides[side]);
        clean = false;
    }
    if (clean && knows)
        clean = is_as_found(side, "parameters", w.found[side].params, now.params) &&
                is_as_found(side, "capabilities", w.found[side].caps, now.caps);
    settings_free(&now);
    return clean;
}

/* A folder that has nothing in it but these. */
static bool has_only(const char *folder, const char *const *names)
{
    DIR *dir = opendir(folder);
    bool fine = dir != NULL;
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        bool known = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        for (unsigned i = 0; names[i]; i++)
            known = known || strcmp(e->d_name, names[i]) == 0;
        if (!known) {
            faults_say("LEFT: file %s in the %s", e->d_name,
                       strcmp(folder, w.run) == 0 ? "runtime directory" : "folder");
            fine = false;
        }
    }
    if (dir)
        (void)closedir(dir);
    return fine;
}

static bool no_process_is_left(void)
{
    enum { SOON = 100, LOOK_MS = 20 };
    pid_t now[16];
    for (unsigned round = 0; round < SOON; round++) {
        const unsigned n = world_children(now);
        pid_t stray = 0;
        for (unsigned i = 0; i < n; i++) {
            bool known = false;
            for (unsigned k = 0; k < w.n_own; k++)
                known = known || w.own[k] == now[i];
            if (!known && waitpid(now[i], NULL, WNOHANG) == 0)
                stray = now[i];
        }
        if (stray == 0)
            return true;
        lab_pump(w.lab, LOOK_MS);
    }
    faults_say("LEFT: a process");
    return false;
}

/* It was never told the end of a post-copy, and takes no settings meanwhile. */
static bool is_source_waiting(void)
{
    char status[LAB_STATE_MAX];
    return w.cell.fault == FAULT_WORDS && lab_vm_alive(w.vm[FAULTS_SRC]) &&
           lab_mig_status(w.vm[FAULTS_SRC], status) == 0 &&
           strcmp(status, "postcopy-active") == 0;
}

static bool nothing_is_left(const struct said *said, bool held)
{
    static const char *const ours[] = {"src.qmp", "src.err", "dst.qmp", "dst.err",
                                       "s.relay", "d.relay", "journal", "journal.killed",
                                       "disk",    "run",     "state",   NULL};
    static const char *const none[] = {NULL};
    const bool knows = w.cell.fault != FAULT_KILL_QFERRY && !held;
    if (!no_process_is_left() || !has_only(lab_dir(w.lab), ours) ||
        !has_only(w.state, none))
        return false;
    if (said->exit == 7 || (held && said->exit == 6))
        return true; /* it is not over: a key may be needed yet */
    if (!has_only(w.run, none))
        return false;
    /* A source that is done, and whose monitor is lost while its settings are put back, keeps the rest of
     * them: qferry does not connect again for that. */
    const bool may_keep =
        said->exit == 0 && (w.cell.fault == FAULT_MONITOR_SOURCE || is_source_waiting());
    return (!lab_vm_alive(w.vm[FAULTS_SRC]) || may_keep || is_clean(FAULTS_SRC, knows)) &&
           (!runs(FAULTS_DST) || is_clean(FAULTS_DST, knows));
}

/* ---- a cell ---- */

enum verdict faults_run_cell(void)
{
    struct said said;
    enum verdict v = BAD;
    if (!world_begin() || !world_begin_qferry()) {
        if (w.note[0] == '\0')
            faults_say("the cell's world does not begin");
        return BAD;
    }
    w.missed = !faults_wait_for_moment();
    if (w.missed)
        (void)snprintf(w.hit, sizeof(w.hit), "the moment did not come");
    else
        faults_strike();
    if (read_result(&said))
        v = judge_place(&said, false);
    if (v != BAD && !nothing_is_left(&said, v == HELD))
        v = BAD;
    if (v == BAD) {
        lab_proc_dump(w.qferry);
        lab_vm_dump(w.vm[FAULTS_SRC]);
        lab_vm_dump(w.vm[FAULTS_DST]);
    }
    return v;
}
