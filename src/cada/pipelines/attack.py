"""`cada attack build`: freeze an attack's prompts to a file, going on after a kill."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cada import __version__
from cada.attacks import named, pap, paraphrase, static, suffix
from cada.attacks.file import Header, Row, append_rows, open_attack_file
from cada.attacks.made import Made, Respond, Unasked, chat_target
from cada.attacks.pair import NAME as PAIR
from cada.attacks.pair import SUCCESS, PairOptions, chat_score, pair
from cada.attacks.rewriting import TRIES, rewrite
from cada.attacks.texts import read_texts
from cada.attacks.types import Attempt
from cada.casebook.loader import load_casebook
from cada.config.judge import ChatOptions
from cada.config.sources import RequestSource
from cada.errors import CadaError
from cada.files import held
from cada.judging.chat import ChatModel, Reply
from cada.judging.make import ask_chat
from cada.prompting.deliberation import FormatStyle, parse
from cada.requests.sources import load_sets
from cada.requests.types import Request

if TYPE_CHECKING:
    from cada.pipelines.evaluate import Watcher  # imports torch, which most attacks do without

# Requests that are attacked side by side. A killed build loses no reply, only the rows of a piece.
_PIECE = 16


@dataclass(frozen=True)
class AttackJob:
    """Which attack on which requests, and who makes it.

    `date` is the day that the file will say. `target`: a chat model (transfer), or the name of a
    model on this machine (direct: the one to be measured). `texts`: prompts that the user has.
    `plain`: where a model cannot be asked, write the request as it is, and why.
    """

    attack: str
    sources: list[RequestSource]
    out: Path
    date: str
    seed: int = 0
    limit: int | None = None
    where: dict[str, bool | int | str] = field(default_factory=dict)
    casebook: str = "default"
    style: FormatStyle = FormatStyle.HEADINGS
    attacker: ChatOptions | None = None
    target: ChatOptions | str | None = None
    judge: ChatOptions | None = None
    streams: int = PairOptions.streams
    iterations: int = PairOptions.iterations
    keep: int = PairOptions.keep
    target_tokens: int = 256
    texts: Path | None = None
    plain: bool = False


@dataclass(frozen=True)
class Built:
    """What a build did: rows for the requests that were asked for, those made now, those that
    stand unchanged, and for PAIR those rated 10. `cost`: each chat model's calls and their price.
    """

    attack: str
    out: str
    n: int
    n_new: int
    n_plain: int
    n_top: int | None
    cost: dict[str, dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return asdict(self)


Maker = Callable[[Sequence[Request]], list[Made | Unasked]]


def build(job: AttackJob, watcher: "Watcher") -> Built:
    """Make the attack on every request that the file lacks, and write it there.

    Replies of chat models are kept in a folder beside the file, so that a build that was killed
    sends nothing again that was answered.

    Raises:
        CadaError: bad input, a file that holds another attack, or requests for which a model could
            not be asked; what is made by then is written.
    """
    _check(job)
    limit = {"limit": job.limit} if job.limit else {}
    sources = [s.model_copy(update=limit) for s in job.sources]
    sets = load_sets(sources, load_casebook(job.casebook), job.where)
    requests = {(r.id, r.text): r for rs in sets.values() for r in rs}
    with _chats(job) as chats:
        header = _header(job, list(sets))
        there = open_attack_file(job.out, header).rows if job.out.exists() else []
        rows = {row.key: row for row in there}
        left = [request for key, request in requests.items() if key not in rows]
        if len(left) < len(requests):
            watcher.stage(f"{len(requests) - len(left)} of {len(requests)} are there")
        if left:
            make = _maker(job, chats, left, watcher)
            open_attack_file(job.out, header)  # not before all that can be wrong with the input
            rows |= _make_rows(job, make, left, watcher)
    done = [rows[key] for key in requests]
    return Built(
        attack=job.attack,
        out=str(job.out),
        n=len(done),
        n_new=len(left),
        n_plain=sum(row.problem is not None for row in done),
        n_top=sum(row.score == SUCCESS for row in done) if job.attack == PAIR else None,
        cost={role: {"model": c.options.model, **asdict(c.usage)} for role, c in chats.items()},
    )


def _make_rows(
    job: AttackJob, make: Maker, left: Sequence[Request], watcher: "Watcher"
) -> dict[tuple[str, str], Row]:
    """Make and write the rows of the requests that are left, piece by piece.

    Raises:
        CadaError: a model could not be asked for all of them.
    """
    rows: dict[tuple[str, str], Row] = {}
    problem = ""
    for at in range(0, len(left), _PIECE):
        piece = left[at : at + _PIECE]
        made = make(piece)
        if job.plain:
            made = [_stand_in(r, m) for r, m in zip(piece, made, strict=True)]
        new = [_row(r, m) for r, m in zip(piece, made, strict=True) if isinstance(m, Made)]
        append_rows(job.out, new)
        rows |= {row.key: row for row in new}
        problem = problem or next((m.problem for m in made if isinstance(m, Unasked)), "")
        watcher.measured(f"{job.attack}: prompts made", len(rows), len(left))
        if not new:
            break  # nobody answers
    if problem:
        raise CadaError(
            f"{len(left) - len(rows)} of {len(left)} requests have no attack yet "
            f"({problem.rstrip('.')})",
            where=str(job.out),
            mend="Start the same command again: it goes on, and sends nothing again that was "
            "answered",
        )
    return rows


def _check(job: AttackJob) -> None:
    """See that the attack is there, and has what it takes and nothing else."""
    if job.texts is None and job.attack not in (*static.OFFLINE, *named.WITH_ATTACKER):
        if not job.attack.startswith(named.SUFFIX):
            raise named.unknown(job.attack)
        path = Path(job.attack.removeprefix(named.SUFFIX))
        if len(suffix.read_suffixes(path)) > 1:
            raise CadaError(
                "holds several suffixes, and an attack file holds one attack",
                where=str(path),
                mend="Split it, or give it to `cada evaluate` as it is",
            )
    if job.texts is not None and job.attack in (*static.OFFLINE, *pap.TECHNIQUES, PAIR):
        raise CadaError(
            f"{job.attack} is an attack that cada makes",
            where="--texts",
            mend="Give your own prompts another name, or leave --texts out",
        )
    asks = job.attack in named.WITH_ATTACKER and job.texts is None
    takes = {
        "--attacker": (job.attacker, asks),
        "--target": (job.target, job.attack == PAIR),
        "--judge": (job.judge, job.attack == PAIR),
    }
    for option, (given, needed) in takes.items():
        if needed and given is None:
            raise CadaError(
                f"{job.attack} needs it",
                where=option,
                mend=f"Give {option} model=NAME[,NAME=VALUE…], over an API or from your own server",
            )
        if given is not None and not needed:
            raise CadaError(
                f"{job.attack} asks nobody there", where=option, mend=f"Leave {option} out"
            )


@contextmanager
def _chats(job: AttackJob) -> Iterator[dict[str, ChatModel]]:
    """The chat models by role; their folder is held until the block ends."""
    roles = {"attacker": _attacker(job), "judge": job.judge}
    if isinstance(job.target, ChatOptions):
        roles["target"] = job.target
    folder = job.out.with_name(f"{job.out.name}.replies")
    with held(_made(folder)) if job.attacker else nullcontext():
        yield {
            role: ask_chat(options, folder / f"{role}.jsonl", ask_again=True)
            for role, options in roles.items()
            if options is not None
        }


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CadaError(
            f"could not be made ({error.strerror or error})",
            where=str(folder),
            mend="Choose another --out",
        ) from error
    return folder


def _attacker(job: AttackJob) -> ChatOptions | None:
    """The attacker with the sampling that is published for it, unless the user says otherwise."""
    if job.attacker is None:
        return None
    usual = {"temperature": 1.0} | ({"top_p": 0.9} if job.attack == PAIR else {})
    left = {name: v for name, v in usual.items() if name not in job.attacker.model_fields_set}
    return job.attacker.model_copy(update=left)


def _header(job: AttackJob, benchmarks: list[str]) -> Header:
    """What the file says of its making; addresses of servers stay out of it."""
    attacker = _attacker(job)
    settings: dict[str, Any] = {}
    if attacker:
        settings |= attacker.model_dump(include={"temperature", "top_p", "max_tokens"})
        settings["tries"] = PairOptions.tries if job.attack == PAIR else TRIES
    if job.attack == PAIR and job.judge is not None:
        settings |= {
            "streams": job.streams,
            "iterations": job.iterations,
            "keep": job.keep,
            "judge": job.judge.model,
            **_target_settings(job),
        }
    if job.attack in static.OFFLINE:
        settings["style"] = str(job.style)
    name = job.attack
    if name.startswith(named.SUFFIX):
        name = named.SUFFIX + Path(name.removeprefix(named.SUFFIX)).stem
    try:
        return Header(
            attack=name,
            generator=f"cada {__version__}" if job.texts is None else f"texts of {job.texts.name}",
            model=attacker.model if attacker else None,
            seed=job.seed,
            date=job.date,
            benchmarks=benchmarks,
            settings=settings,
        )
    except ValidationError as error:
        raise CadaError(
            f"{name!r} is no name for an attack",
            where="attack",
            mend="Take a short name of one line, other than none",
        ) from error


def _target_settings(job: AttackJob) -> dict[str, Any]:
    if isinstance(job.target, ChatOptions):
        tokens = job.target.max_tokens
        return {"setting": "transfer", "target": job.target.model, "target_tokens": tokens}
    from cada.models.fingerprint import fingerprint

    told = {"setting": "direct", "target": job.target, "target_tokens": job.target_tokens}
    return told | {"target_weights": fingerprint(str(job.target))}


def _maker(
    job: AttackJob, chats: dict[str, ChatModel], left: Sequence[Request], watcher: "Watcher"
) -> Maker:
    attack, own = job.attack, job.texts
    if own is not None:
        read_texts(own, left)  # a gap is told before anything is written
        return lambda requests: [*read_texts(own, requests)]
    if attack not in named.WITH_ATTACKER:
        return lambda requests: [
            Made(each.text, each.prefill) for each in named.attempts_of(attack, requests, job.style)
        ]
    if attack == PAIR:
        target = (
            chat_target(chats["target"])
            if "target" in chats
            else _local_target(str(job.target), job.target_tokens, watcher)
        )
        options = PairOptions(job.streams, job.iterations, job.keep, seed=job.seed)
        score = chat_score(chats["judge"])
        return lambda requests: pair(requests, chats["attacker"], target, score, options)
    wanted = paraphrase.INSTRUCTION if attack == named.PARAPHRASE else pap.instruction(attack)
    return lambda requests: rewrite(chats["attacker"], requests, wanted, job.seed)


def _local_target(model: str, max_tokens: int, watcher: "Watcher") -> Respond:
    """A model on this machine, greedy and without a code; the judge sees its final response."""
    from cada.casebook.loader import load_casebook
    from cada.evaluation.local import LocalTarget
    from cada.models.load import load_policy
    from cada.models.trained import prompting_of
    from cada.rollout.prompts import Prompter
    from cada.rollout.types import Sampling

    watcher.stage(f"loading {model}")
    policy = load_policy(model)
    options = prompting_of(model, None)
    prompter = Prompter(load_casebook("default"), options, policy.tokenizer, policy.system_role)
    local = LocalTarget(policy, prompter)

    def respond(attempts: Sequence[Attempt]) -> list[Reply]:
        outputs = local.answer(attempts, "none", Sampling(max_tokens, temperature=0.0))
        return [
            Reply(None if o.text is None else parse(o.text, local.style).response, o.problem)
            for o in outputs
        ]

    return respond


def _stand_in(request: Request, made: Made | Unasked) -> Made:
    return Made(request.text, problem=made.problem) if isinstance(made, Unasked) else made


def _row(request: Request, made: Made) -> Row:
    return Row(
        request_id=request.id,
        request=request.text,
        text=made.text,
        prefill=made.prefill,
        score=made.score,
        problem=made.problem,
        transcript=made.transcript,
    )
