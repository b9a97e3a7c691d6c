#!/usr/bin/env python3
"""An executor of actions with nothing but the standard library.

It speaks the NATS protocol by hand, and the protocol of docs/PROTOCOL.md over
it: what is here is all that an executor needs, in any language. One attempt at
a time; a second process with another name doubles that.

    NATS_URL=nats://127.0.0.1:4222 EXECUTOR_NAME=py-1 EXECUTOR_PASSWORD=... \\
    EXECUTOR_SPOOL=/var/lib/py-1 python3 executor.py
"""

import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from datetime import datetime, timezone
from urllib.parse import urlparse

STREAM = "ACTIONS_ORDERS"


class Failure(Exception):
    """A failed attempt: a kind for the taxonomy, and what it means for the next."""

    def __init__(self, message, kind="error", final=False, retry_after_ms=0):
        super().__init__(message)
        self.kind, self.final, self.retry_after_ms = kind, final, retry_after_ms


class Canceled(Exception):
    """The attempt was asked to end, and has."""


class Forbidden(Exception):
    """The credential does not allow what an executor needs: waiting will not help."""


# --- NATS, as much as is needed ------------------------------------------------


class Nats:
    """A connection that comes back for ever. Messages go to the callback of their
    subject, on the reading thread."""

    def __init__(self, url, user, password):
        parts = urlparse(url)
        self.address = (parts.hostname, parts.port or 4222)
        self.login = {"user": user, "pass": password}
        self.inbox = "_INBOX_%s.%s" % (user, uuid.uuid4().hex)
        self.callbacks = {}  # by subscription id
        self.subjects = []
        self.waiting = {}  # answers, by inbox subject
        self.lock = threading.Lock()  # of the socket's sending side
        self.sock = None
        self.up = threading.Event()
        self.epoch = 0  # rises with each connection
        self.error = None
        self.subscribe(self.inbox + ".*", self._answer)
        threading.Thread(target=self._run, daemon=True).start()

    def _answer(self, msg):
        q = self.waiting.get(msg["subject"])
        if q is not None:
            q.put(msg)

    def subscribe(self, subject, callback):
        sid = len(self.subjects) + 1
        self.subjects.append(subject)
        self.callbacks[sid] = callback
        if self.up.is_set():
            self._send(b"SUB %s %d\r\n" % (subject.encode(), sid))

    def publish(self, subject, data=b"", reply="", headers=None):
        """Raises OSError when there is no connection: whoever must be heard repeats."""
        to = subject + (" " + reply if reply else "")
        if headers:
            head = b"NATS/1.0\r\n" + b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in headers.items()) + b"\r\n"
            self._send(b"HPUB %s %d %d\r\n" % (to.encode(), len(head), len(head) + len(data)) + head + data + b"\r\n")
        else:
            self._send(b"PUB %s %d\r\n" % (to.encode(), len(data)) + data + b"\r\n")

    def request(self, subject, data=b"", headers=None, timeout=5.0):
        """Returns the answer, or None."""
        reply = "%s.%s" % (self.inbox, uuid.uuid4().hex)
        q = self.waiting[reply] = queue.Queue()
        try:
            epoch = self.epoch
            self.publish(subject, data, reply, headers)
            until = time.monotonic() + timeout
            while True:
                left = until - time.monotonic()
                if left <= 0 or self.epoch != epoch:
                    return None
                try:
                    return q.get(timeout=min(left, 0.5))
                except queue.Empty:
                    pass
        finally:
            del self.waiting[reply]

    def _send(self, data):
        with self.lock:
            if self.sock is None:
                raise OSError("not connected")
            self.sock.sendall(data)

    def _run(self):
        pause = 0.05
        while True:
            try:
                self._connect()
                pause = 0.05
                self._read()
            except OSError as e:
                print("executor: connection: %s" % e, file=sys.stderr, flush=True)
            with self.lock:
                if self.sock is not None:
                    self.sock.close()
                self.sock = None
                self.up.clear()
            time.sleep(pause)
            pause = min(2 * pause, 5)

    def _connect(self):
        sock = socket.create_connection(self.address, timeout=10)
        sock.settimeout(20)  # the server answers a PING every 10 s
        self.file = sock.makefile("rb")
        line = self.file.readline()
        if not line.startswith(b"INFO "):
            raise OSError("it is no NATS server")
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "1", "headers": True, "no_responders": True,
                   "protocol": 1, "name": "executor " + self.login["user"], **self.login}
        sock.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        while True:  # until the server has let us in
            line = self.file.readline()
            if line.startswith(b"PONG"):
                break
            if not line or line.startswith(b"-ERR"):
                raise OSError("refused: %s" % line.decode().strip())
        for sid, subject in enumerate(self.subjects, 1):
            sock.sendall(b"SUB %s %d\r\n" % (subject.encode(), sid))
        with self.lock:
            self.sock = sock
        self.epoch += 1
        self.up.set()
        threading.Thread(target=self._ping, args=(sock,), daemon=True).start()

    def _ping(self, sock):
        while self.sock is sock:
            try:
                self._send(b"PING\r\n")
            except OSError:
                return
            time.sleep(10)

    def _read(self):
        while True:
            line = self.file.readline()
            if not line:
                raise OSError("the server has closed it")
            words = line.split()
            verb = words[0].upper() if words else b""
            if verb in (b"MSG", b"HMSG"):
                self._message(verb, [w.decode() for w in words[1:]])
            elif verb == b"PING":
                self._send(b"PONG\r\n")
            elif verb == b"-ERR":
                text = line.decode().strip()
                print("executor: %s" % text, file=sys.stderr, flush=True)
                if "permissions violation" in text.lower():
                    self.error = text

    def _message(self, verb, words):
        # MSG subject sid [reply] size, HMSG subject sid [reply] header-size size
        headed = verb == b"HMSG"
        size, head = int(words[-1]), int(words[-2]) if headed else 0
        data = self.file.read(size + 2)[:size]
        plain = len(words) - (2 if headed else 1)
        msg = {"subject": words[0], "reply": words[2] if plain == 3 else "", "data": data[head:], "status": ""}
        if headed:
            status = data[:head].split(b"\r\n", 1)[0].split(b" ", 2)
            msg["status"] = status[1].decode() if len(status) > 1 else ""
        callback = self.callbacks.get(int(words[1]))
        if callback:
            callback(msg)


# --- the protocol of executors -------------------------------------------------


class Spool:
    """What was begun and how it ended, on disk until the control plane has answered."""

    def __init__(self, directory):
        self.dir = directory
        os.makedirs(directory, mode=0o700, exist_ok=True)

    def path(self, attempt):
        return os.path.join(self.dir, uuid.uuid5(uuid.NAMESPACE_URL, attempt).hex + ".json")

    def put(self, attempt, record):
        path = self.path(attempt)
        with open(path + ".new", "w") as f:
            json.dump(record, f)
            f.flush()
            os.fsync(f.fileno())
        os.rename(path + ".new", path)
        d = os.open(self.dir, os.O_RDONLY)
        os.fsync(d)
        os.close(d)

    def has(self, attempt):
        return os.path.exists(self.path(attempt))

    def forget(self, attempt):
        os.remove(self.path(attempt))

    def all(self):
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".json"):
                with open(os.path.join(self.dir, name)) as f:
                    yield json.load(f)


class Task:
    """One attempt, as its handler sees it."""

    def __init__(self, order, envelope):
        self.order, self.envelope = order, envelope
        self.args = order.get("args") or {}
        self.end = threading.Event()  # set when the handler is to stop
        self.why = ""
        self.report = {}

    def stop(self, why):
        if not self.end.is_set():
            self.why = why
            self.end.set()

    def progress(self, percent, message=""):
        self.report = {"percent": percent, "message": message}

    def sleep(self, seconds):
        """Waits, and raises when the attempt is to end."""
        if self.end.wait(seconds):
            raise Canceled("it was asked to end")


class Executor:
    RESEND, RESEND_MAX = 1.0, 30.0

    def __init__(self, url, name, password, spool, handlers):
        self.name, self.handlers, self.spool = name, handlers, Spool(spool)
        self.verdicts = {}  # queues by report
        self.task = None
        self.sent = 0
        self.boot = uuid.uuid4().hex
        self.closing = threading.Event()
        self.closed_at = 0.0
        self.nats = Nats(url, name, password)
        self.nats.subscribe("actions.verdict." + name, self.verdict)
        # An order comes under its own subject, not under the inbox it was asked to: only
        # the subscription tells what it answers.
        self.orders = {command: queue.Queue() for command in handlers}
        for command, q in self.orders.items():
            self.nats.subscribe("%s.orders.%s" % (self.nats.inbox, command), q.put)

    def verdict(self, msg):
        v = json.loads(msg["data"])
        q = self.verdicts.get(v.get("report"))
        if q is not None:
            q.put(v)
        task = self.task
        if task is not None and v.get("attempt_id") == task.order["attempt_id"]:
            if v.get("cancel"):
                task.stop("canceled")
            elif v.get("verdict") == "superseded":
                task.stop("superseded")

    def envelope(self, typ, order, request, attrs):
        attrs = {"action_id": order["action_id"], "attempt_id": order["attempt_id"], "executor": self.name, **attrs}
        ev = {"id": str(uuid.uuid4()), "ts": datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"), "event_type": typ,
              "entity_id": request.get("entity_id", ""), "causation_id": request.get("id", ""),
              "source": {"system": "executor", "ns": {"executor": self.name}}, "attrs": attrs, "schema": 1}
        for key in ("correlation_id", "tags"):
            if key in request:
                ev[key] = request[key]
        return ev

    def subject(self, typ):
        kind = "result" if typ in ("action.succeeded", "action.failed", "action.canceled") else "progress"
        return "actions.%s.%s" % (kind, self.name)

    def tell(self, ev, until=None, ended=lambda: False):
        """Repeats a report until there is a verdict. None: the time was over first."""
        q = self.verdicts[ev["id"]] = queue.Queue()
        data, wait = json.dumps(ev).encode(), self.RESEND
        try:
            while True:
                self.sent += 1
                try:
                    self.nats.publish(self.subject(ev["event_type"]), data, self.nats.inbox + ".ack",
                                      {"Nats-Msg-Id": "%s:%s.%d" % (ev["id"], self.boot, self.sent)})
                except OSError:
                    pass
                again, epoch = time.monotonic() + wait, self.nats.epoch
                while time.monotonic() < again and self.nats.epoch == epoch:
                    self.check()
                    if until is not None and time.monotonic() >= until or ended():
                        return None
                    try:
                        return q.get(timeout=0.05)
                    except queue.Empty:
                        pass
                wait = min(2 * wait, self.RESEND_MAX)
        finally:
            del self.verdicts[ev["id"]]

    def check(self):
        if self.nats.error:
            raise Forbidden("%s: the credential must be named %s and have its commands" % (self.nats.error, self.name))

    def run(self):
        for record in self.spool.all():  # what an earlier process left
            if "result" not in record:
                record["result"] = self.envelope("action.failed", record["order"], record["request"], {
                    "error": "the executor ended while the attempt ran", "kind": "executor_lost"})
            self.deliver(record)
        commands = list(self.handlers)
        while not self.closing.is_set():
            self.check()
            for command in commands:
                if self.closing.is_set():
                    return
                if self.nats.up.wait(0.5):
                    # One command at a time is asked for, so it is not asked for long.
                    self.pull(command, 5 if len(commands) == 1 else 0.2)

    def pull(self, command, seconds):
        """Asks for one order and waits for it. One that comes later is taken next time."""
        orders = self.orders[command]
        try:
            if orders.empty():
                body = {"batch": 1, "expires": int(seconds * 1e9)}
                self.nats.publish("$JS.API.CONSUMER.MSG.NEXT.%s.exec-%s" % (STREAM, command), json.dumps(body).encode(),
                                  "%s.orders.%s" % (self.nats.inbox, command))
            msg = orders.get(timeout=seconds + 0.5)
        except (OSError, queue.Empty):
            return
        if msg["status"]:  # 404, 408: none now; 409, 503: not now
            if msg["status"] in ("409", "503"):
                self.closing.wait(1)
            return
        try:
            self.take(command, msg)
        except OSError as e:  # the order comes again
            print("executor: %s" % e, file=sys.stderr, flush=True)

    def take(self, command, msg):
        arrived = time.monotonic()
        try:
            request = json.loads(msg["data"])
            order = request.pop("attrs")
            if order["command"] != command or not order["attempt_id"] or not order["action_id"]:
                raise ValueError("it is another's")
        except (ValueError, KeyError, TypeError) as e:
            self.nats.publish(msg["reply"], b"+TERM not understood: " + str(e).encode())
            return
        if self.spool.has(order["attempt_id"]):
            self.nats.publish(msg["reply"], b"+ACK")
            return
        hand = threading.Event()
        threading.Thread(target=self.in_hand, args=(msg["reply"], hand), daemon=True).start()
        try:
            verdict = self.tell(self.envelope("action.accepted", order, request, {}), arrived + order["remaining_ms"] / 1000)
        finally:
            hand.set()
        try:
            self.nats.request(msg["reply"], b"+ACK", timeout=5)
        except OSError:
            pass  # it will come again, and be known
        if verdict is None:
            self.end(order, request, "action.failed", {"error": "no verdict came within the TTL", "kind": "expired"})
        elif verdict["verdict"] == "accepted":
            self.carry_out(order, request, verdict)

    def in_hand(self, reply, done):
        while not done.wait(10):
            try:
                self.nats.publish(reply, b"+WPI")
            except OSError:
                pass

    def carry_out(self, order, request, verdict):
        handler = self.handlers[order["command"]]
        if order.get("dry_run"):
            self.end(order, request, "action.failed", {"error": "%s has no dry run" % order["command"], "kind": "unsupported", "final": True})
            return
        self.spool.put(order["attempt_id"], {"order": order, "request": request})
        task = self.task = Task(order, request)
        if verdict.get("cancel"):
            task.stop("canceled")
        over = threading.Event()
        started = threading.Thread(target=self.tell, daemon=True, kwargs={
            "ev": self.envelope("action.started", order, request, {}), "ended": over.is_set})
        started.start()
        alive = threading.Thread(target=self.heartbeat, args=(task, over), daemon=True)
        alive.start()
        begin = time.monotonic()
        try:
            result = handler(task)
            typ, attrs = "action.succeeded", {"result": result}
            json.dumps(result)
        except Canceled as e:
            typ, attrs = "action.failed", {"error": str(e), "kind": "timeout" if task.why == "timeout" else "executor_stopped"}
            if task.why == "canceled":
                typ, attrs = "action.canceled", {"message": str(e)}
        except Failure as e:
            typ, attrs = "action.failed", {"error": str(e)[:1000], "kind": e.kind, "final": e.final, "retry_after_ms": e.retry_after_ms}
        except Exception as e:  # a handler that is broken must not end the executor
            traceback.print_exc()
            typ, attrs = "action.failed", {"error": repr(e)[:1000], "kind": "panic"}
        attrs["duration_ms"] = int((time.monotonic() - begin) * 1000)
        started.join(2)  # the journal tells the story in order
        over.set()
        alive.join()
        self.task = None
        self.end(order, request, typ, attrs)

    def heartbeat(self, task, over):
        every = min((task.order.get("heartbeat_ms") or 30000) / 3000, 10)
        until = time.monotonic() + (task.order["timeout_ms"] / 1000 if task.order.get("timeout_ms") else 1e9)
        next_word, told = time.monotonic() + every, task.report
        while not over.wait(0.05):
            now = time.monotonic()
            if now >= until:
                task.stop("timeout")
                return
            if now >= next_word or task.report is not told:
                next_word, told = now + every, task.report
                ev = self.envelope("action.progress", task.order, task.envelope, told)
                try:
                    self.nats.publish(self.subject("action.progress"), json.dumps(ev).encode())
                except OSError:
                    pass

    def end(self, order, request, typ, attrs):
        """Writes the result down, reports it until it is answered, and forgets it."""
        record = {"order": order, "request": request, "result": self.envelope(typ, order, request, attrs)}
        self.spool.put(order["attempt_id"], record)
        self.deliver(record)

    def patience_is_over(self):
        return self.closing.is_set() and time.monotonic() > self.closed_at + 5

    def deliver(self, record):
        if self.tell(record["result"], ended=self.patience_is_over) is not None:
            self.spool.forget(record["order"]["attempt_id"])


# --- what this executor can do ---------------------------------------------------


def greet(task):
    unknown = set(task.args) - {"name"}
    if unknown or not isinstance(task.args.get("name"), str):
        raise Failure("greet has the argument name, a text, and no other", kind="invalid", final=True)
    return {"greeting": "Hello, %s!" % task.args["name"], "idempotency_key": task.order["action_id"]}


def count(task):
    """Counts slowly, and can be canceled."""
    to = int(task.args.get("to", 10))
    for i in range(to):
        task.progress(100 * i / to, "at %d" % i)
        task.sleep(float(task.args.get("every", 0.1)))
    return {"counted": to}


def flaky(task):
    """Fails at its first attempt, and says when it may be tried again."""
    if task.order["attempt"] == 1:
        raise Failure("not yet", kind="unavailable", retry_after_ms=10)
    return {"attempt": task.order["attempt"]}


def main():
    executor = Executor(os.environ["NATS_URL"], os.environ["EXECUTOR_NAME"], os.environ["EXECUTOR_PASSWORD"],
                        os.environ["EXECUTOR_SPOOL"], {"greet": greet, "count": count, "flaky": flaky})
    executor.RESEND = float(os.environ.get("EXECUTOR_RESEND", Executor.RESEND))

    def close(*_):
        executor.closed_at = time.monotonic()
        executor.closing.set()
        if executor.task is not None:
            executor.task.stop("stopped")

    signal.signal(signal.SIGTERM, close)
    signal.signal(signal.SIGINT, close)
    try:
        executor.run()
    except Forbidden as e:
        print("executor: %s" % e, file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
