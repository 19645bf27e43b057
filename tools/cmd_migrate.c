/* qferry migrate, preflight, attach: options, signals, output; the rest is the engine's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/control_uv.h"
#include "engine/drive_uv.h"
#include "engine/memory_uv.h"
#include "engine/request.h"
#include "engine/running_uv.h"
#include "engine/stream_uv.h"
#include "tools/choose_policy.h"
#include "tools/output.h"
#include "tools/render.h"
#include "tools/tool.h"

static const char usage[] =
    "usage: qferry %s SOURCE DESTINATION [options]\n"
    "\n"
    "%s\n"
    "SOURCE and DESTINATION are QMP monitors: /run/vm.qmp, tcp:HOST:PORT, tls:HOST:PORT or\n"
    "ssh:[USER@]HOST[:PORT]/run/vm.qmp.\n"
    "The destination's QEMU waits with -incoming defer (and better -S).\n"
    "\n"
    "  -p, --policy NAME|FILE      what to do when it does not converge (minimal-downtime)\n"
    "      --policies DIR          choose a policy of this folder by labels\n"
    "      --label K=V             a label of the VM; repeatable\n"
    "      --namespace-label K=V   a label of its namespace; repeatable\n"
    "      --explain               say which policies matched, and why one won\n"
    "      --set FIELD=VALUE       override one field of the policy; repeatable\n"
    "      --max-downtime TIME     the same as --set downtime.max=TIME\n"
    "      --timeout TIME          the same as --set timeout=TIME\n"
    "  -n, --networks FILE         networks to choose from; repeatable\n"
    "      --network CIDR          a network for migrations, in order of preference; repeatable\n"
    "      --bandwidth RATE        100Mbit, 125MiB; auto (default): what the chosen network\n"
    "                              allows; hypervisor: as QEMU is set\n"
    "      --channels N            connections for the memory (multifd), 0 = one stream; default:\n"
    "                              the policy's, or as many as link and cores call for\n"
    "      --compression METHOD    of the channels: none (default), zlib, zstd\n"
    "      --zero-copy             channels send from the guest's memory without a copy\n"
    "      --destination-address A an address of the destination's host; repeatable\n"
    "      --port PORT[-PORT]      its port; default: QEMU picks a free one\n"
    "      --bind ADDRESS|INTERFACE\n"
    "                              qferry opens the memory's connection, from there\n"
    "      --retries N             start again over the next network when one is lost (1)\n"
    "      --restart-destination COMMAND\n"
    "                              starts a fresh destination for that, as QEMU needs it\n"
    "      --encrypt HOW           off (default), psk, x509:DIR or ssh:[USER@]HOST: encrypt the\n"
    "                              guest's memory on its way\n"
    "      --tls-dir DIR           ca-cert.pem, client-cert.pem, client-key.pem for tls: monitors\n"
    "      --unsafe CHECK[,CHECK]  turn the refusal of a check into a warning\n"
    "      --self-start            leave the guest's start on the destination to QEMU\n"
    "      --quit-source           after success, tell the source's QEMU to quit\n"
    "      --quit-destination      after a failure, tell the destination's QEMU to quit\n"
    "      --takeover              end another qferry that moves this VM and hangs, and take\n"
    "                              its move over\n"
    "      --dry-run               the checks only: the same as preflight\n"
    "      --json                  JSON lines on stdout\n"
    "      --journal FILE          where the journal goes, or none\n"
    "      --control ADDRESS       a socket for status, watch, cancel, postcopy, pause, set\n"
    "  -q, --quiet                 less output\n"
    "  -v, --verbose               more output\n"
    "\n"
    "See qferry(1), qferry-policy(5), qferry-journal(5).\n";

enum { SIGNALS = 3 };

struct run {
    struct request request;
    struct choose choose;
    struct drive drive;
    struct render render;
    uv_signal_t signal[SIGNALS];
    const char *control; /* address; NULL: nothing listens */
    const char *journal;
    struct control_server server;
    struct running running; /* that it is us who move this VM */
    bool takeover;
    char uid[CONTROL_UID_MAX]; /* of this run, on the control socket */
    bool json;
    bool quiet;
    bool over;
    struct record_result result;
    struct memory_found past; /* what a qferry that was killed has left */
};

/* ---- the engine's voice ---- */

static void on_record(struct drive *d,
                      const struct record *record,
                      const char *line,
                      void *arg)
{
    struct run *run = arg;
    control_publish(&run->server, run->uid, line);
    if (run->json) {
        (void)fputs(line, run->render.out);
        (void)fflush(run->render.out);
        return;
    }
    render_record(&run->render, record, d->session.mig.now_ns);
}

static void on_journal_error(struct drive *d, const struct qf_err *err, void *arg)
{
    struct run *run = arg;
    (void)d;
    render_clear(&run->render);
    (void)fprintf(run->render.err, "qferry: warning: %s\n", err->text);
    (void)fflush(run->render.err);
}

static void on_left_behind(struct drive *d, const char *what, void *arg)
{
    struct run *run = arg;
    (void)d;
    render_clear(&run->render);
    (void)fprintf(run->render.err, "qferry: warning: %s\n", what);
    (void)fflush(run->render.err);
}

static void on_end(struct drive *d, const struct record_result *result, void *arg)
{
    struct run *run = arg;
    (void)d;
    run->result = *result;
    run->over = true;
    for (unsigned i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&run->signal[i], NULL);
    control_close(&run->server, NULL, NULL);
}

static const struct drive_ops drive_ops = {
    .on_record = on_record,
    .on_journal_error = on_journal_error,
    .on_left_behind = on_left_behind,
    .on_end = on_end,
};

static void on_signal(uv_signal_t *handle, int signum)
{
    struct run *run = handle->data;
    (void)signum;
    drive_cancel(&run->drive);
}

/* ---- the control socket ---- */

static int on_operator(const char *uid,
                       const struct operator_command *c,
                       void *arg,
                       struct qf_err *err)
{
    struct run *run = arg;
    (void)uid; /* there is one */
    return drive_operator(&run->drive, c, err);
}

static int open_control(struct run *run, uv_loop_t *loop, struct qf_err *err)
{
    static const struct control_ops ops = {.on_operator = on_operator};
    unsigned char bytes[8];
    if (!run->control)
        return 0;
    if (uv_random(NULL, NULL, bytes, sizeof(bytes), 0, NULL) != 0) {
        const uint64_t other = uv_hrtime() ^ ((uint64_t)getpid() << 40);
        memcpy(bytes, &other, sizeof(bytes));
    }
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(run->uid + 2 * i, 3, "%02x", bytes[i]);
    if (control_open(&run->server, loop, run->control, QFERRY_VERSION, &ops, run, err) != 0)
        return qf_wrap(err, "--control");
    return control_add(&run->server.control, run->uid, &run->request.spec,
                       run->request.policy.name, err);
}

/* ---- the journal's place ---- */

static int make_dirs(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        const int rc = mkdir(path, 0700);
        *p = '/';
        if (rc != 0 && errno != EEXIST)
            return -1;
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

static bool state_dir(char *buf, size_t size)
{
    const char *dir = getenv("STATE_DIRECTORY"); /* systemd.exec(5) */
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int n;
    if (dir && dir[0] == '/')
        n = snprintf(buf, size, "%s", dir);
    else if (geteuid() == 0)
        n = snprintf(buf, size, "/var/lib/qferry");
    else if (xdg && xdg[0] == '/')
        n = snprintf(buf, size, "%s/qferry", xdg);
    else if (home && home[0] == '/')
        n = snprintf(buf, size, "%s/.local/state/qferry", home);
    else
        return false;
    return n > 0 && (size_t)n < size;
}

/* Before the new journal is opened, which may replace it. */
static void look_back(struct run *run)
{
    char dir[512];
    struct memory_found *past = &run->past;
    const bool has_policy = run->choose.has_policy || run->choose.dir;
    if (run->request.spec.dry_run && !run->journal)
        return;
    if (!run->journal && state_dir(dir, sizeof(dir)))
        memory_of_folder(dir, &run->request.spec, past);
    else if (run->journal && strcmp(run->journal, "none") != 0)
        memory_of_file(run->journal, &run->request.spec, past);
    if (past->note[0] != '\0')
        (void)fprintf(run->render.err,
                      "qferry: warning: %s: nothing is known from it of an "
                      "earlier run\n",
                      past->note);
    if (past->found)
        past->memory.has_policy = request_remember_policy(
            &run->request, has_policy, &past->given, &past->memory.policy);
}

static int open_default_journal(void)
{
    char dir[512];
    char path[640];
    char stamp[32];
    const time_t now = time(NULL);
    struct tm tm;
    if (!state_dir(dir, sizeof(dir)) || make_dirs(dir) != 0 || !gmtime_r(&now, &tm)) {
        (void)fprintf(stderr,
                      "qferry: warning: no journal: no state directory (%s); "
                      "--journal FILE names another place\n",
                      strerror(errno));
        return -1;
    }
    (void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    (void)snprintf(path, sizeof(path), "%s/%s-%ld.jsonl", dir, stamp, (long)getpid());
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        (void)fprintf(stderr, "qferry: warning: no journal: %s: %s\n", path,
                      strerror(errno));
    else
        (void)memory_lock(fd); /* it is new: nobody else has it */
    return fd;
}

/* -1: no journal. -2: the one that was asked for cannot be made (err). */
static int open_journal(const char *path,
                        const struct memory_found *past,
                        bool dry_run,
                        struct qf_err *err)
{
    if (!path)
        return open_default_journal();
    if (strcmp(path, "none") == 0)
        return -1;
    if (past->found && dry_run) {
        (void)qf_fail(
            err, QF_E_USAGE,
            "--journal: %s: it holds what is known of a move that was under way, and "
            "would be lost; name another file",
            path);
        return -2;
    }
    if (past->found && strcmp(past->path, path) == 0 && memory_put_aside(path, err) != 0)
        return -2;
    if (past->over)
        memory_forget_aside(path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0) {
        (void)qf_fail(err, QF_E_USAGE, "--journal: %s: %s", path, strerror(errno));
        return -2;
    }
    const bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (is_file && !memory_lock(fd)) {
        (void)qf_fail(err, QF_E_USAGE, "--journal: %s: another qferry is writing it", path);
        (void)close(fd);
        return -2;
    }
    if (is_file && ftruncate(fd, 0) != 0)
        (void)fprintf(stderr, "qferry: warning: --journal: %s: %s\n", path,
                      strerror(errno));
    return fd;
}

/* ---- options ---- */

static int load_policy(struct request *r, const char *value, struct qf_err *err)
{
    if (!tool_is_file_name(value))
        return request_option(r, "policy", value, err);
    size_t len;
    char origin[TOOL_ORIGIN_SIZE];
    char *text = tool_read_policy(value, origin, &len, err);
    if (!text)
        return qf_wrap(err, "--policy");
    const int rc = request_policy_text(r, origin, text, len, err);
    free(text);
    return rc;
}

static void warn(const char *what, const char *why)
{
    (void)fprintf(stderr, "qferry: warning: %s%s\n", what, why);
}

/* Be the only one of this host that moves this VM. */
static int take_vm(struct run *run, struct qf_err *err)
{
    const struct running_wish wish = {
        .source = &run->request.addr[MIG_SRC],
        .spec = &run->request.spec,
        .control = run->control,
        .takeover = run->takeover,
    };
    pid_t ended = 0;
    if (run->request.spec.dry_run)
        return 0;
    const int rc = running_take(&run->running, &wish, &ended, err);
    if (ended != 0) {
        char text[96];
        (void)snprintf(text, sizeof(text),
                       "--takeover: process %ld, which moved this VM, %s", (long)ended,
                       rc == 0 ? "was ended" : "was told to end");
        warn(text, "");
    }
    if (rc != -(int)QF_E_IO)
        return rc;
    warn("no look-out for other moves of this host: ", err->text);
    return 0;
}

/* For who reads lines the refusal is the result of a move that nothing was done for. */
static int start_refused(struct run *run, uv_loop_t *loop, struct qf_err *err)
{
    const struct qf_err why = *err;
    if (!run->json)
        return -(int)why.code;
    const int rc = drive_start(&run->drive, loop, &run->request.spec, &run->request.policy,
                               run->request.addr, -1, &drive_ops, run, err);
    if (rc == 0)
        drive_refuse(&run->drive, &why);
    return rc;
}

/* Everything that may be refused comes before a monitor is connected to: credentials, another
 * qferry that is at it, the control socket, and last the journal, which may write over a file. */
static int start(struct run *run, uv_loop_t *loop, struct qf_err *err)
{
    const char *bind = run->request.spec.bind;
    int rc = bind[0] != '\0' ? stream_check(bind, err) : 0;
    if (rc == 0)
        rc = drive_check(run->request.addr, err);
    if (rc == 0 && take_vm(run, err) != 0)
        return start_refused(run, loop, err);
    if (rc == 0)
        rc = open_control(run, loop, err);
    if (rc == 0)
        look_back(run);
    const int fd =
        rc == 0 ? open_journal(run->journal, &run->past, run->request.spec.dry_run, err)
                : -1;
    if (fd == -2)
        rc = -(int)err->code;
    if (rc == 0)
        rc = drive_start(&run->drive, loop, &run->request.spec, &run->request.policy,
                         run->request.addr, fd, &drive_ops, run, err);
    if (rc == 0) {
        drive_use_restart(&run->drive, run->request.restart_command);
        drive_use_running(&run->drive, &run->running);
        if (run->past.found && !run->request.spec.dry_run)
            drive_remember(&run->drive, &run->past.memory);
        return 0;
    }
    running_drop(&run->running);
    control_close(&run->server, NULL, NULL);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    return rc;
}

static int run_loop(struct run *run, struct qf_err *err)
{
    uv_loop_t loop;
    /* A hang-up, too: the terminal is gone, and QEMU must not be left waiting for qferry. */
    static const int signals[SIGNALS] = {SIGINT, SIGTERM, SIGHUP};
    int rc = uv_loop_init(&loop);
    if (rc != 0)
        return qf_fail(err, QF_E_INTERNAL, "event loop: %s", uv_strerror(rc));
    rc = start(run, &loop, err);
    if (rc != 0) {
        (void)uv_loop_close(&loop);
        return rc;
    }
    for (unsigned i = 0; i < SIGNALS; i++) {
        (void)uv_signal_init(&loop, &run->signal[i]);
        run->signal[i].data = run;
        (void)uv_signal_start(&run->signal[i], on_signal, signals[i]);
    }
    run->render.t0_ns = (int64_t)uv_hrtime();
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    running_drop(&run->running);
    (void)uv_loop_close(&loop);
    return run->over ? 0 : qf_fail(err, QF_E_INTERNAL, "the event loop ended early");
}

enum { OPT_JSON = 256, OPT_JOURNAL, OPT_CONTROL, OPT_TAKEOVER, OPT_ENGINE, OPT_CHOOSE };

static const struct option options[] = {
    {"policy", required_argument, NULL, 'p'},
    {"policies", required_argument, NULL, OPT_CHOOSE},
    {"label", required_argument, NULL, OPT_CHOOSE},
    {"namespace-label", required_argument, NULL, OPT_CHOOSE},
    {"explain", no_argument, NULL, OPT_CHOOSE},
    {"set", required_argument, NULL, OPT_ENGINE},
    {"max-downtime", required_argument, NULL, OPT_ENGINE},
    {"timeout", required_argument, NULL, OPT_ENGINE},
    {"networks", required_argument, NULL, 'n'},
    {"network", required_argument, NULL, OPT_ENGINE},
    {"bandwidth", required_argument, NULL, OPT_ENGINE},
    {"channels", required_argument, NULL, OPT_ENGINE},
    {"compression", required_argument, NULL, OPT_ENGINE},
    {"zero-copy", no_argument, NULL, OPT_ENGINE},
    {"destination-address", required_argument, NULL, OPT_ENGINE},
    {"port", required_argument, NULL, OPT_ENGINE},
    {"bind", required_argument, NULL, OPT_ENGINE},
    {"retries", required_argument, NULL, OPT_ENGINE},
    {"restart-destination", required_argument, NULL, OPT_ENGINE},
    {"encrypt", required_argument, NULL, OPT_ENGINE},
    {"tls-dir", required_argument, NULL, OPT_ENGINE},
    {"unsafe", required_argument, NULL, OPT_ENGINE},
    {"self-start", no_argument, NULL, OPT_ENGINE},
    {"quit-source", no_argument, NULL, OPT_ENGINE},
    {"quit-destination", no_argument, NULL, OPT_ENGINE},
    {"takeover", no_argument, NULL, OPT_TAKEOVER},
    {"dry-run", no_argument, NULL, OPT_ENGINE},
    {"json", no_argument, NULL, OPT_JSON},
    {"journal", required_argument, NULL, OPT_JOURNAL},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static void print_usage(const char *command)
{
    (void)printf(
        usage, command,
        strcmp(command, "preflight") == 0
            ? "Every check that a migration would make; changes nothing.\n"
        : strcmp(command, "attach") == 0
            ? "Take up a move that is under way, also a post-copy that is interrupted; "
              "never start one.\n"
            : "Move a running VM from one QEMU to another.\n");
}

int cmd_migrate(int argc, char **argv)
{
    const char *command = argv[0];
    struct qf_err err;
    static struct run run; /* large; one per process */
    int c;
    int index = 0;
    int rc = 0;
    request_init(&run.request);
    run.render = (struct render){.level = RENDER_NORMAL};
    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, ":p:n:qvh", options, &index)) != -1) {
        switch (c) {
        case 'p':
            rc = load_policy(&run.request, optarg, &err);
            run.choose.has_policy = true;
            break;
        case 'n':
            rc = tool_read_networks(&run.request, optarg, &err);
            break;
        case OPT_CHOOSE:
            rc = choose_option(&run.choose, options[index].name, optarg, &err);
            break;
        case OPT_ENGINE:
            rc = request_option(&run.request, options[index].name, optarg, &err);
            break;
        case OPT_JSON:
            run.json = true;
            break;
        case OPT_JOURNAL:
            run.journal = optarg;
            break;
        case OPT_CONTROL:
            run.control = optarg;
            break;
        case OPT_TAKEOVER:
            run.takeover = true;
            break;
        case 'q':
            run.quiet = true;
            run.render.level = RENDER_QUIET;
            break;
        case 'v':
            run.render.level = RENDER_VERBOSE;
            break;
        case 'h':
            print_usage(command);
            return 0;
        default:
            return tool_bad_option(command, c, argv);
        }
    }
    if (rc != 0)
        return tool_fail(&err);
    if (argc - optind != 2)
        return tool_usage(
            command, "%s takes two monitors, the source's and the destination's", command);
    if (request_sides(&run.request, argv[optind], argv[optind + 1], &err) != 0 ||
        choose_policy(&run.choose, &run.request.policy, run.json ? stderr : stdout, &err) !=
            0 ||
        request_finish(&run.request, &err) != 0)
        return tool_fail(&err);
    if (strcmp(command, "preflight") == 0)
        run.request.spec.dry_run = true;
    if (strcmp(command, "attach") == 0) {
        run.request.spec.attach = true;
        if (run.request.spec.dry_run)
            return tool_usage(command,
                              "attach: --dry-run: there is nothing to try: it takes up "
                              "what is under way, or refuses");
    }
    if (run.takeover && run.request.spec.dry_run)
        return tool_usage(command, "--takeover: %s takes nothing over",
                          strcmp(command, "preflight") == 0 ? command : "--dry-run");
    run.render.all_checks = run.request.spec.dry_run;
    run.render.progress = !run.json && isatty(STDERR_FILENO);
    struct output *output = output_open();
    if (!output) {
        (void)qf_fail(&err, QF_E_NOMEM, "no memory for the output");
        return tool_fail(&err);
    }
    run.render.out = output_stdout(output);
    run.render.err = output_stderr(output);
    rc = run_loop(&run, &err);
    output_close(output);
    if (rc != 0)
        return tool_fail(&err);
    if (run.json && !run.quiet && qf_code_status(run.result.code) != 0)
        (void)fprintf(stderr, "qferry: %s: %s\n", record_outcome_name(run.result.outcome),
                      run.result.reason);
    return qf_code_status(run.result.code);
}
