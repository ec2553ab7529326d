# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads small litmus tests in C and searches all of their executions.

How it works: each thread is run with every value that its loads could return; then every choice of the store that a
load reads and of the order of stores to a place is tried, and what the memory model RC11 (Lahav and others, PLDI 2017)
does not rule out is kept. RC11 is C11 with repaired sequential consistency and without values out of thin air. The
names of the relations below are the paper's. What a relation holds of event i is a mask of events.
"""

import dataclasses
import itertools
import re

RANK = {"relaxed": 0, "acquire": 1, "release": 2, "acq_rel": 3, "seq_cst": 3}
TOKEN = re.compile(r"\s*(?:(\w+)|(==|!=|&&|\|\||[-+&|(){};=,*!<>]))")
STEPS_MOST = 4096


class Bad(Exception):
    """A file that is not what this reader knows."""


@dataclasses.dataclass(frozen=True)
class Event:
    thread: int
    kind: str  # R, W or F
    place: str
    value: int
    order: str
    atomic: int = 0  # load and store of one exchange have the same number, not 0

    def acquires(self):
        return bool(RANK[self.order] & 1) and self.kind in "RF"

    def releases(self):
        return bool(RANK[self.order] & 2) and self.kind in "WF"


class Reader:
    """One thread's statements, by recursive descent."""

    def __init__(self, text):
        self.tokens, at = [], 0
        text = text.strip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match:
                raise Bad(f"cannot read {text[at:at + 30]!r}")
            self.tokens.append(match.group(1) or match.group(2))
            at = match.end()
        self.at = 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, want=None):
        token = self.peek()
        if token is None or (want is not None and token != want):
            raise Bad(f"expected {want!r}, got {token!r}")
        self.at += 1
        return token

    def block(self):
        statements = []
        while self.peek() not in (None, "}"):
            statements.append(self.statement())
        return statements

    def statement(self):
        if self.peek() == "if":
            self.take()
            self.take("(")
            condition = self.expression()
            self.take(")")
            self.take("{")
            yes, no = self.block(), []
            self.take("}")
            if self.peek() == "else":
                self.take()
                self.take("{")
                no = self.block()
                self.take("}")
            return ("if", condition, yes, no)
        target = None
        if self.peek() == "int":
            self.take()
        if self.tokens[self.at + 1] == "=":
            target = self.take()
            self.take("=")
        result = self.expression(target)
        self.take(";")
        return result if result[0] == "call" else ("set", target, result)

    def expression(self, target=None):
        left = self.primary(target)
        while self.peek() in ("==", "!=", "+", "-", "&", "|", "&&", "||"):
            left = ("operation", self.take(), left, self.primary())
        return left

    def primary(self, target=None):
        token = self.take()
        if token == "(":
            inner = self.expression()
            self.take(")")
            return inner
        if token.isdigit():
            return ("number", int(token))
        if self.peek() != "(":
            return ("register", token)
        self.take("(")
        arguments = [self.expression()]
        while self.peek() == ",":
            self.take()
            arguments.append(self.expression())
        self.take(")")
        return ("call", target, token, arguments)


def evaluate(expression, registers):
    if expression[0] == "number":
        return expression[1]
    if expression[0] == "register":
        return registers[expression[1]]
    if expression[0] != "operation":
        raise Bad(f"{expression[0]} inside an expression")
    left, right = (evaluate(part, registers) for part in expression[2:])
    return {"==": int(left == right), "!=": int(left != right), "+": left + right, "-": left - right,
            "&": left & right, "|": left | right, "&&": int(bool(left and right)),
            "||": int(bool(left or right))}[expression[1]]


EXCHANGE = {"atomic_exchange_explicit": lambda old, new: new, "atomic_fetch_add_explicit": lambda old, new: old + new,
            "atomic_fetch_sub_explicit": lambda old, new: old - new,
            "atomic_fetch_or_explicit": lambda old, new: old | new}


def runs(thread, statements, values, registers=None, events=()):
    """All (events, registers) of a thread, where a load of a place may return any of values[place]."""
    registers = dict(registers or {})
    if not statements:
        yield events, registers
        return
    first, rest = statements[0], statements[1:]
    if first[0] == "if":
        yield from runs(thread, (first[2] if evaluate(first[1], registers) else first[3]) + rest, values, registers,
                        events)
        return
    if first[0] == "set":
        registers[first[1]] = evaluate(first[2], registers)
        yield from runs(thread, rest, values, registers, events)
        return

    _, target, name, arguments = first
    order = arguments[-1][1].removeprefix("memory_order_")
    place = arguments[0][1]
    if name == "atomic_thread_fence":
        yield from runs(thread, rest, values, registers, (*events, Event(thread, "F", "", 0, order)))
    elif name == "atomic_store_explicit":
        event = Event(thread, "W", place, evaluate(arguments[1], registers), order)
        yield from runs(thread, rest, values, registers, (*events, event))
    elif name == "atomic_load_explicit":
        for value in sorted(values[place]):
            yield from runs(thread, rest, values, {**registers, target: value},
                            (*events, Event(thread, "R", place, value, order)))
    elif name in EXCHANGE:
        atomic = len(events) + 1
        for value in sorted(values[place]):
            new = EXCHANGE[name](value, evaluate(arguments[1], registers))
            yield from runs(thread, rest, values, {**registers, **({target: value} if target else {})},
                            (*events, Event(thread, "R", place, value, order, atomic),
                             Event(thread, "W", place, new, order, atomic)))
    else:
        raise Bad(f"{name} is not known")


class Relation(list):
    """Row i: the mask of events that i stands before."""

    def __or__(self, other):
        return Relation(a | b for a, b in zip(self, other))

    def then(self, other):
        """Composition."""
        result = Relation()
        for row in self:
            mask, at = 0, 0
            while row >> at:
                if row >> at & 1:
                    mask |= other[at]
                at += 1
            result.append(mask)
        return result

    def maybe(self):
        return Relation(row | 1 << i for i, row in enumerate(self))

    def closure(self):
        rows = Relation(self)
        for middle in range(len(rows)):
            for i, row in enumerate(rows):
                if row >> middle & 1:
                    rows[i] |= rows[middle]
        return rows

    def cyclic(self):
        return any(row >> i & 1 for i, row in enumerate(self.closure()))

    def select(self, keep):
        return Relation(sum(1 << j for j in range(len(self)) if row >> j & 1 and keep(i, j))
                        for i, row in enumerate(self))


class Program:
    """The graph of events of one run of each thread, before it is known who reads what."""

    def __init__(self, threads, initial):
        self.events = [Event(-1, "W", place, value, "relaxed") for place, value in initial.items()]
        self.events += [event for events in threads for event in events]
        count = len(self.events)
        self.sb = Relation(
            sum(1 << j for j in range(i + 1, count)
                if self.events[j].thread >= 0 and self.events[i].thread in (-1, self.events[j].thread))
            for i in range(count))
        self.same_place = [sum(1 << j for j, other in enumerate(self.events)
                               if event.place and event.place == other.place) for event in self.events]
        self.atomic = [(i, i + 1) for i, event in enumerate(self.events) if event.atomic and event.kind == "R"]
        self.stores, self.loads = {}, []
        for i, event in enumerate(self.events):
            if event.kind == "W":
                self.stores.setdefault(event.place, []).append(i)
            elif event.kind == "R":
                self.loads.append(i)

    def only(self, keep):
        """The identity on some events."""
        return Relation(1 << i if keep(event) else 0 for i, event in enumerate(self.events))

    def readings(self):
        """For each load the stores of its value."""
        return itertools.product(*([store for store in self.stores[self.events[load].place]
                                    if self.events[store].value == self.events[load].value] for load in self.loads))

    def orders(self):
        """The orders of stores: the initial one first."""
        for choice in itertools.product(*([(stores[0], *others) for others in itertools.permutations(stores[1:])]
                                          for stores in self.stores.values())):
            mo = Relation([0] * len(self.events))
            for order in choice:
                for earlier, later in itertools.combinations(order, 2):
                    mo[earlier] |= 1 << later
            yield mo, {self.events[order[-1]].place: self.events[order[-1]].value for order in choice}

    def allowed(self, reading, mo):
        """RC11's four conditions."""
        events, sb, count = self.events, self.sb, len(self.events)
        rf, rb = Relation([0] * count), Relation([0] * count)
        for load, store in zip(self.loads, reading):
            rf[store] |= 1 << load
            rb[load] = mo[store]
        if (sb | rf).cyclic():
            return False
        pairs = Relation([0] * count)
        for load, store in self.atomic:
            pairs[load] = 1 << store
            # What is read stands right before what is written.
            if not rb[load] >> store & 1 or any(rb[load] >> i & 1 and mo[i] >> store & 1 for i in range(count)):
                return False
        eco = (rf | mo | rb).closure()
        sb_loc = sb.select(lambda i, j: self.same_place[i] >> j & 1)
        release = self.only(Event.releases)
        acquire = self.only(Event.acquires)
        fence = self.only(lambda event: event.kind == "F")
        sequence = self.only(lambda event: event.kind == "W").then(sb_loc.maybe()).then(
            self.only(lambda event: event.kind == "W")).then((rf.then(pairs)).closure().maybe())
        sw = release.then((fence.then(sb)) | self.only(lambda event: True)).then(sequence).then(rf).then(
            (sb.then(fence)) | self.only(lambda event: True)).then(acquire)
        hb = (sb | sw).closure()
        if any(row >> i & 1 for i, row in enumerate(hb.then(eco.maybe()))):
            return False
        sc = self.only(lambda event: event.order == "seq_cst" and event.kind != "F")
        sc_fence = self.only(lambda event: event.order == "seq_cst" and event.kind == "F")
        sb_other = sb.select(lambda i, j: not self.same_place[i] >> j & 1)
        scb = (sb | sb_other.then(hb).then(sb_other) | hb.select(lambda i, j: self.same_place[i] >> j & 1) | mo | rb)
        base = (sc | sc_fence.then(hb.maybe())).then(scb).then(sc | hb.maybe().then(sc_fence))
        fences = sc_fence.then(hb | hb.then(eco).then(hb)).then(sc_fence)
        return not (base | fences).cyclic()


class Litmus:
    def __init__(self, text):
        body = re.sub(r"\(\*.*?\*\)", " ", text, flags=re.S)
        head = re.match(r"C (\S+)\s*\{(.*?)\}(.*)\bexists\b(.*)\Z", body, re.S)
        if not head:
            raise Bad("not a litmus test in C")
        self.name, initial, threads, self.condition = head.group(1), head.group(2), head.group(3), head.group(4)
        self.initial = {place: int(value) for place, value in re.findall(r"(\w+)\s*=\s*(\d+)", initial)}
        self.threads = {}
        for match in re.finditer(r"P(\d+)\s*\(.*?\)\s*\{(.*?)^\}", threads, re.S | re.M):
            self.threads[int(match.group(1))] = match.group(2)
        if sorted(self.threads) != list(range(len(self.threads))) or not self.threads:
            raise Bad("threads must be P0, P1 and so on")

    def holds(self, registers, memory):
        def atom(match):
            thread, name, value = match.groups()
            got = registers[int(thread)].get(name) if thread is not None else memory[name]
            return f" {got == int(value)} "
        words = re.sub(r"(?:(\d+):)?\b([A-Za-z_]\w*)\s*=\s*(\d+)", atom, self.condition)
        words = words.replace("/\\", " and ").replace("\\/", " or ").replace("~", " not ")
        if re.sub(r"True|False|and|or|not|[()\s]", "", words):
            raise Bad(f"cannot read the condition {self.condition!r}")
        return eval(" ".join(words.split()))  # nothing but the words above

    def possible(self):
        """Whether some execution ends as the condition says; and how many executions there are."""
        statements = [Reader(self.threads[i]).block() for i in range(len(self.threads))]
        values = {place: {value} for place, value in self.initial.items()}
        # What a load can return is what stores store, which may depend on what loads return.
        for _ in range(8):
            every = [list(runs(i, block, values)) for i, block in enumerate(statements)]
            grown = {place: set(known) for place, known in values.items()}
            for events, _registers in itertools.chain.from_iterable(every):
                for event in events:
                    if event.kind == "W":
                        grown[event.place].add(event.value)
            if grown == values or max(map(len, grown.values())) > 6:
                break
            values = grown
        executions, found = 0, False
        for combination in itertools.product(*every):
            program = Program([events for events, _ in combination], self.initial)
            registers = [named for _, named in combination]
            for reading in program.readings():
                for mo, memory in program.orders():
                    if program.allowed(reading, mo):
                        executions += 1
                        found = found or self.holds(registers, memory)
        return found, executions
