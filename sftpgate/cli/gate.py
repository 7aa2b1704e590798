"""A running gate, as a worker process has it: the system's parts, the gateway on top, and the sweeper beside it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial

from sftpgate.cli.accounts import terms_of
from sftpgate.cli.bans import ban_rules, named_by_admin
from sftpgate.cli.bring_up import bring_up_regularly
from sftpgate.cli.compose import System, build, make_retention, utc_now
from sftpgate.cli.pointers import LivePointers
from sftpgate.cli.reach import Bounds
from sftpgate.cli.supervise import stop_at_signals
from sftpgate.errors import SftpgateError, StoreAway, only_error
from sftpgate.gateway.algorithms import offer
from sftpgate.gateway.auth import LoginServices
from sftpgate.gateway.bans import Bans
from sftpgate.gateway.descriptors import Descriptors, raise_limit
from sftpgate.gateway.door import Door, Proxies, UserLimits
from sftpgate.gateway.exchanges import Exchanges
from sftpgate.gateway.expiry import warn_of_endings
from sftpgate.gateway.hostkeys import HostKeys
from sftpgate.gateway.lastuse import LastUses
from sftpgate.gateway.sampling import sample_regularly
from sftpgate.gateway.server import PASSWORD_THREADS, Gate, GateParts
from sftpgate.gateway.services import Services, Unchecked
from sftpgate.gateway.testimony import witness
from sftpgate.gateway.view import Parts
from sftpgate.gateway.worker import work
from sftpgate.intake.directory_counts import DirectoryCounts
from sftpgate.intake.edits import Edits
from sftpgate.intake.hops import Hops
from sftpgate.intake.publish import Publisher
from sftpgate.intake.recovery import set_damaged_aside
from sftpgate.intake.register import OpenUploads
from sftpgate.intake.room import Room
from sftpgate.intake.sweep import Sweeper, SweepRules
from sftpgate.intake.union import Union
from sftpgate.ledger import audit
from sftpgate.ledger.actor import SYSTEM
from sftpgate.ledger.audit import Event
from sftpgate.ledger.database import Ledger
from sftpgate.ledger.trail import Trail
from sftpgate.logs import Logger, get_logger
from sftpgate.meter import Meter, make_meter
from sftpgate.policy.names import VirtualPath
from sftpgate.policy.quotas import OwnQuotas, Quotas
from sftpgate.runners.holding import make_claims
from sftpgate.runners.notices import Notices
from sftpgate.settings import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.seats import Seats
from sftpgate.users.hostrotation import finish_rotation
from sftpgate.users.memory import ACCESS_MEMORY, Memory
from sftpgate.users.registry import UserRegistry

log = get_logger("gate")

COLLECT_OFTEN = (700, 10, 10)  # as Python does by itself, and a command does not: what connections leave must not pile up
HOP_THREADS = 16  # requests that wait for the disk or the ledger at a time; more wait in line
CHANGE_THREADS = 4  # that may wait for the store's lock: they take turns at it, and must not keep anybody from looking
LOGIN_THREADS = 2  # that read users' files for logins; a pool of its own, so that nobody who waits for the store keeps others out
HOPS_AT_ONCE = 2  # of those that do not wait long: with one, an OPEN waits for the commit of others


def make_directory_counts(system: System, registry: UserRegistry) -> DirectoryCounts:
    """What counts the directories of the drop."""
    return DirectoryCounts(
        system.layout,
        system.disk,
        lambda: [user.home for user in registry.list() if user.home],
        processes=system.settings.worker_count,
        clock=system.clock,
    )


def make_room(system: System, registry: UserRegistry) -> Room:
    """The limits of a system on what senders may send."""
    settings = system.settings
    gates = Quotas(
        max_upload_bytes=settings.max_upload_bytes,
        max_pending_bytes=settings.max_pending_bytes,
        max_pending_files=settings.max_pending_files,
        max_daily_bytes=settings.max_daily_bytes,
        max_directories=settings.max_directories,
    )

    none = OwnQuotas()

    def quotas_of(name: str) -> Quotas:
        own = registry.quotas(name)
        return gates if own == none else gates.of(own)

    return Room(
        system.ledger,
        system.staging,
        system.disk,
        system.layout.store,
        quotas_of,
        directories=make_directory_counts(system, registry),
        free_space_floor=settings.free_space_floor,
        processes=settings.worker_count,
        clock=system.clock,
    )


def make_edits(system: System, publisher: Publisher, registry: UserRegistry) -> Edits:
    """The acts of senders on a system."""
    system.placer.rules.homes.of_users = registry.homes
    union = Union(system.layout, system.disk, system.ledger, system.staging)
    return Edits(system.moves, system.placer, system.staging, union, publisher, make_room(system, registry))


def make_sweeper(system: System, edits: Edits, registry: UserRegistry) -> Sweeper:
    """The sweeper of a system."""
    claims = make_claims(system, SYSTEM)
    notices = Notices(system.moves, batch_lock_name=system.settings.batch_lock_name)
    rules = SweepRules(
        settle_seconds=system.settings.settle_seconds,
        partial_ttl=timedelta(seconds=system.settings.partial_ttl),
        homes=registry.homes,
        others=(
            lambda: {"claims returned": len(claims.return_dead())},
            lambda: {"holds reported": notices.report_holds()},
            make_retention(system).regularly,
        ),
    )
    return Sweeper(system.moves, system.placer, system.staging, edits, rules)


def make_door(system: System, registry: UserRegistry, hops: Hops, seats: Seats, gateway_log: Logger) -> Door:
    """Whom a system lets in."""
    settings = system.settings
    users = UserLimits(
        max_connections_per_user=settings.max_connections_per_user, max_sessions_per_user=settings.max_sessions_per_user
    )
    proxies = Proxies(networks=settings.proxy_protocol_from, header_seconds=settings.proxy_protocol_timeout)
    named = named_by_admin(settings, registry)
    bans = Bans(system.ledger, hops, ban_rules(settings), clock=system.clock, named=named, log=gateway_log)
    return Door(bans, seats, users, proxies, gateway_log)


def recovered(settings: Settings) -> System:
    """The system of these settings after a crash or a loss of the ledger: a damaged ledger is kept aside, a missing one
    made anew from the disk.
    """
    aside = set_damaged_aside(Ledger(settings.ledger), Disk(), utc_now())
    system = build(settings, pointers=LivePointers(settings))
    if aside is not None:
        details: dict[str, audit.Detail] = {"kept_as": aside.name, "reason": "the earlier ledger was damaged"}
        with system.ledger.transaction() as connection:
            audit.record(connection, [Event(at=system.clock(), event="ledger.set_aside", actor=SYSTEM, details=details)])
    return system


class Running:
    """The parts of one serving process. ``recovering``: nobody else is serving, so what a crash left is put right first.

    ``confine`` is called when the directories are there, before anything else is.
    """

    def __init__(self, settings: Settings, *, recovering: bool = True, confine: Callable[[], object] = lambda: None) -> None:
        self._registry = registry = UserRegistry(settings.keys_dir, memory=Memory(settings.data_dir / ACCESS_MEMORY))
        registry.preload()
        system = recovered(settings) if recovering else build(settings, pointers=LivePointers(settings))
        confine()
        self.hops, password_hops = Hops(HOP_THREADS, "hop", at_once=HOPS_AT_ONCE), Hops(PASSWORD_THREADS, "password")
        self._change_hops, publish_hops = Hops(CHANGE_THREADS, "change"), Hops(1, "publish")
        self._sweep_hops = Hops(1, "sweep")
        self._ban_hops = Hops(1, "bans")
        file_hops = Hops(LOGIN_THREADS, "login")
        self._pools = (
            self.hops,
            self._change_hops,
            publish_hops,
            password_hops,
            file_hops,
            self._sweep_hops,
            self._ban_hops,
        )
        self._seats = Seats(system.disk, system.layout.seats)
        self._settings = settings
        self._system = system
        publisher = Publisher(system.moves, system.placer, system.staging, publish_hops)
        edits = make_edits(system, publisher, registry)
        register = OpenUploads(system.staging)
        self._sweeper = make_sweeper(system, edits, registry)
        self._trail, self._meter = Trail(system.ledger, system.clock), make_meter()
        if recovering:
            _recover(self._sweeper, witness(log, self._trail, self._meter))
        gateway_log = witness(get_logger("gateway"), self._trail, self._meter)
        self._trail.note("gate.started" if recovering else "worker.started", pid=os.getpid())
        self.gate = Gate(
            GateParts(
                settings=settings,
                parts=Parts(
                    layout=system.layout,
                    disk=system.disk,
                    ledger=system.ledger,
                    union=Union(system.layout, system.disk, system.ledger, system.staging),
                    edits=edits,
                    register=register,
                    mount=VirtualPath(settings.drop_mount),
                ),
                services=lambda spawn, is_stopping: Services(
                    spawn=spawn,
                    is_stopping=is_stopping,
                    disk=system.disk,
                    durable=system.moves.durable,
                    staging=system.staging,
                    publisher=publisher,
                    register=register,
                    hops=self.hops,
                    change_hops=self._change_hops,
                    require_free_space=edits.room.require_free_space,
                    look_at_quotas=edits.room.look_again,
                    unchecked=Unchecked(),
                    max_handles=settings.max_handles,
                    descriptors=Descriptors(raise_limit(), settings.max_connections),
                    max_sftp_version=settings.sftp_version,
                ),
                login=LoginServices(
                    registry=registry,
                    hops=password_hops,
                    files=file_hops,
                    exchanges=Exchanges(),
                    clock=system.clock,
                    min_rsa_bits=settings.min_rsa_bits,
                    max_attempts=settings.max_auth_attempts,
                    required_auth=settings.required_auth,
                    signature_algs=frozenset(offer(settings.algorithms).signature_algs),
                    last_uses=LastUses(system.ledger),
                ),
                host_keys=HostKeys(settings.keys_dir, offer(settings.algorithms).host_key_algs),
                door=make_door(system, registry, self._ban_hops, self._seats, gateway_log),
                log=gateway_log,
            )
        )

    async def serve(self, serving: Coroutine[object, object, None], *, sweeping: bool) -> None:
        """Run ``serving`` (the gate, in one way or another) to its end, and sweep regularly beside it."""
        try:
            rounds = [asyncio.create_task(sample_regularly(self.gate, self._meter, self._store_lock_seconds))]
            rounds += [asyncio.create_task(self._sweep_when_ready())] if sweeping else []
            try:
                await serving
            finally:
                for task in rounds:
                    task.cancel()
                await asyncio.wait(rounds)
        except BaseExceptionGroup as group:
            raise only_error(group, SftpgateError) from None
        finally:
            for pool in self._pools:
                pool.close()
            self._trail.note("worker.stopped", pid=os.getpid())
            self._trail.close()
            self._sweeper.close()
            self._seats.close()
            self._system.close()

    def _store_lock_seconds(self) -> float:
        return self._system.disk.lock_waiting_seconds(self._system.layout.lock)

    async def _sweep_when_ready(self) -> None:
        await self.gate.ready.wait()
        said = witness(log, self._trail, self._meter)
        bringing_up = asyncio.create_task(bring_up_regularly(self._system, self._change_hops))
        try:
            await _sweep_regularly(
                self._sweeper, self._sweep_hops, self._settings.sweep_interval, self._look_after_access, said, self._meter
            )
        finally:
            bringing_up.cancel()

    def _look_after_access(self) -> None:
        settings = self._settings
        if finish_rotation(settings.keys_dir, self._system.clock()):
            log.warning("host_keys.rotated")
        warn_of_endings(
            self._system.ledger,
            self._registry,
            now=self._system.clock(),
            within=timedelta(seconds=settings.expiry_warning),
            terms=terms_of(settings, self._registry),
        )


def _recover(sweeper: Sweeper, said: Logger) -> None:
    result = sweeper.recover()
    if result.did_something:
        said.warning("recovery.done", completed_moves=result.completed_moves, gone=result.gone)


async def run_worker(settings: Settings, link: socket.socket, *, chief: bool, recovering: bool) -> None:
    """Serve what the supervisor at the other end of ``link`` hands over, until it says stop."""
    bounds = Bounds(settings)
    running = Running(settings, recovering=recovering, confine=bounds.set)
    stop_at_signals(running.gate.stop, signal.SIGTERM)
    # What was made so far stays to the end, and is most of what there is: a collection need not look at it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_OFTEN)
    outgrown = partial(running.hops.run, bounds.are_outgrown)
    await running.serve(work(running.gate, link, outgrown, chief=chief), sweeping=chief)


async def _sweep_regularly(
    sweeper: Sweeper, hops: Hops, interval_seconds: float, beside: Callable[[], None], said: Logger, meter: Meter
) -> None:
    while True:
        try:
            result = await hops.run(sweeper.run)
            await hops.run(beside)
        except StoreAway:
            pass  # it was said once; the sweep after its return is the next that does something
        except Exception as error:
            log.error("sweep.failed", exc_info=error)
        else:
            if result is not None:
                meter.swept(result.seconds)
            if result is not None and result.did_something:
                said.info(
                    "sweep.done",
                    taken=result.taken,
                    released=result.released,
                    completed_moves=result.completed_moves,
                    gone=result.gone,
                    expired_uploads=result.expired_uploads,
                    failed=result.failed,
                )
        await asyncio.sleep(interval_seconds)
