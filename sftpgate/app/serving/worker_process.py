"""A running gate, as a worker process has it: the site's parts, the gateway on top, and the sweeper beside it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial

from sftpgate.app.bans import ban_rules, named_by_admin
from sftpgate.app.composition import build, make_verdict_reports
from sftpgate.app.serving.bring_up import bring_up_regularly
from sftpgate.app.serving.contracts import judge_regularly, report_regularly
from sftpgate.app.serving.sandbox_paths import Bounds
from sftpgate.app.serving.supervisor_process import stop_at_signals
from sftpgate.app.tools.pointers import LivePointers
from sftpgate.app.upkeep import make_sender_acts, make_sweeper, recovered
from sftpgate.app.users.access import terms_of
from sftpgate.drop.receipt_files import ReceiptFiles
from sftpgate.drop.sender_view import SenderView
from sftpgate.errors import SftpgateError, StoreAway, only_error
from sftpgate.gateway.admission.bans import Bans
from sftpgate.gateway.admission.connections import Admission, Proxies, UserLimits
from sftpgate.gateway.close_verdicts import CloseVerdicts
from sftpgate.gateway.expiry_warnings import warn_of_expiry
from sftpgate.gateway.gate import PASSWORD_THREADS, Gate
from sftpgate.gateway.recording_logger import recording_logger
from sftpgate.gateway.sampling import sample_regularly
from sftpgate.gateway.sftp.descriptor_limits import Descriptors, raise_limit
from sftpgate.gateway.shared import Shared, Unchecked
from sftpgate.gateway.ssh.algorithms import offer
from sftpgate.gateway.ssh.host_keys import HostKeys
from sftpgate.gateway.ssh.key_exchanges import Exchanges
from sftpgate.gateway.ssh.last_use import LastUses
from sftpgate.gateway.tasks import Tasks
from sftpgate.gateway.workers.worker import work
from sftpgate.handover.guard import Guard
from sftpgate.ledger.audit import feed
from sftpgate.ledger.audit.trail import Trail
from sftpgate.logs import Logger, get_logger
from sftpgate.meter import Meter, make_meter
from sftpgate.policy.names import VirtualPath
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.store.shared.user_slots import UserSlots
from sftpgate.threads import Threads
from sftpgate.upkeep.notifications.follower import NAME as NOTIFICATIONS
from sftpgate.upkeep.receipts.writer import NAME as RECEIPTS
from sftpgate.upkeep.sweep import Sweeper
from sftpgate.uploads.open_uploads import OpenUploads
from sftpgate.uploads.publisher import Publisher
from sftpgate.users.host_keys.rotation import finish_rotation
from sftpgate.users.last_whole import ACCESS_MEMORY, Memory
from sftpgate.users.registry import UserRegistry

log = get_logger("gate")

COLLECT_OFTEN = (700, 10, 10)  # as Python does by itself, and a command does not: what connections leave must not pile up
REQUEST_THREADS = 16  # requests that wait for the disk or the ledger at a time; more wait in line
CHANGE_THREADS = 4  # that may wait for the store's lock: they take turns at it, and must not keep anybody from looking
LOGIN_THREADS = 2  # that read users' files for logins; a pool of its own, so that nobody who waits for the store keeps others out
VERDICT_THREADS = 4  # that wait for judges, for senders who wait for a verdict: more wait in line, and for no longer than they do
THREADS_AT_ONCE = 2  # of those that do not wait long: with one, an OPEN waits for the commit of others


def make_admission(site: Site, registry: UserRegistry, threads: Threads, user_slots: UserSlots, gateway_log: Logger) -> Admission:
    """Return whom a site lets in."""
    settings = site.settings
    users = UserLimits(
        max_connections_per_user=settings.max_connections_per_user, max_sessions_per_user=settings.max_sessions_per_user
    )
    proxies = Proxies(networks=settings.proxy_protocol_from, header_seconds=settings.proxy_protocol_timeout)
    named = named_by_admin(settings, registry)
    bans = Bans(site.ledger, threads, ban_rules(settings), clock=site.clock, named=named, log=gateway_log)
    return Admission(bans, user_slots, users, proxies, gateway_log)


class Running:
    """The parts of one serving process. ``recovering``: nobody else is serving, so what a crash left is put right first.

    ``confine`` is called when the directories are there, before anything else is.
    """

    def __init__(self, settings: Settings, *, recovering: bool = True, confine: Callable[[], object] = lambda: None) -> None:
        self._registry = registry = UserRegistry(settings.keys_dir, memory=Memory(settings.data_dir / ACCESS_MEMORY))
        registry.preload()
        site = recovered(settings) if recovering else build(settings, pointers=LivePointers(settings))
        confine()
        self.threads, password_threads = (
            Threads(REQUEST_THREADS, "request", at_once=THREADS_AT_ONCE),
            Threads(PASSWORD_THREADS, "password"),
        )
        self._change_threads, publish_threads = Threads(CHANGE_THREADS, "change"), Threads(1, "publish")
        self._sweep_threads = Threads(1, "sweep")
        self._ban_threads = Threads(1, "bans")
        self._verdict_threads = Threads(VERDICT_THREADS, "verdict")
        self._guard_threads = Threads(2, "guard")  # one judges what is held, the other reports
        file_threads = Threads(LOGIN_THREADS, "login")
        self._pools = (
            self.threads,
            self._change_threads,
            publish_threads,
            password_threads,
            file_threads,
            self._sweep_threads,
            self._ban_threads,
            self._guard_threads,
            self._verdict_threads,
        )
        self._user_slots = UserSlots(site.disk, site.layout.user_slots)
        self._settings = settings
        self._site = site
        publisher = Publisher(site.resources, site.journal, site.placer, site.staging, publish_threads)
        acts = make_sender_acts(site, publisher, registry)
        self._guard = Guard(site.resources, site.journal, site.placer)
        self._verdict_reports = make_verdict_reports(site, self._guard)
        self._sweeper = make_sweeper(site, acts, registry)
        self._trail, self._meter = Trail(site.ledger, site.clock), make_meter()
        if recovering:
            _let_followers_join(site)
            _recover(self._sweeper, recording_logger(log, self._trail, self._meter))
        gateway_log = recording_logger(get_logger("gateway"), self._trail, self._meter)
        self._trail.note("gate.started" if recovering else "worker.started", pid=os.getpid())
        self.gate = Gate(
            Shared(
                site=site,
                registry=registry,
                admission=make_admission(site, registry, self._ban_threads, self._user_slots, gateway_log),
                exchanges=Exchanges(),
                last_uses=LastUses(site.ledger),
                host_keys=HostKeys(settings.keys_dir, offer(settings.algorithms).host_key_algs),
                signature_algs=frozenset(offer(settings.algorithms).signature_algs),
                mount=VirtualPath(settings.drop_mount),
                sender_view=SenderView(site.layout, site.disk, site.ledger, site.staging),
                receipt_files=ReceiptFiles(site.ledger),
                acts=acts,
                publisher=publisher,
                close_verdicts=CloseVerdicts(
                    self._guard,
                    registry,
                    self._verdict_threads,
                    refuse=settings.refuse,
                    language=settings.language,
                    wait_seconds=settings.refuse_wait,
                ),
                open_uploads=OpenUploads(site.staging),
                descriptors=Descriptors(raise_limit(), settings.max_connections),
                unchecked=Unchecked(),
                tasks=Tasks(),
                threads=self.threads,
                change_threads=self._change_threads,
                password_threads=password_threads,
                login_threads=file_threads,
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
            self._guard.stop()
            for pool in self._pools:
                pool.close()
            self._trail.note("worker.stopped", pid=os.getpid())
            self._trail.close()
            self._sweeper.close()
            self._user_slots.close()
            self._site.close()

    def _store_lock_seconds(self) -> float:
        return self._site.journal.locks.waiting_seconds

    async def _sweep_when_ready(self) -> None:
        await self.gate.ready.wait()
        said = recording_logger(log, self._trail, self._meter)
        bringing_up = asyncio.create_task(bring_up_regularly(self._site, self._change_threads))
        judging = asyncio.create_task(judge_regularly(self._guard, self._guard_threads))
        reporting = asyncio.create_task(report_regularly(self._verdict_reports, self._guard_threads))
        try:
            await _sweep_regularly(
                self._sweeper, self._sweep_threads, self._settings.sweep_interval, self._look_after_access, said, self._meter
            )
        finally:
            bringing_up.cancel()
            self._guard.stop()
            judging.cancel()
            reporting.cancel()

    def _look_after_access(self) -> None:
        settings = self._settings
        if finish_rotation(settings.keys_dir, self._site.clock()):
            log.warning("host_keys.rotated")
        warn_of_expiry(
            self._site.ledger,
            self._registry,
            now=self._site.clock(),
            within=timedelta(seconds=settings.expiry_warning),
            terms=terms_of(settings, self._registry),
        )


def _let_followers_join(site: Site) -> None:
    """Let those who follow the record begin before anybody is let in: their process comes up later, and must miss nothing."""
    wanted = {RECEIPTS: site.settings.receipts, NOTIFICATIONS: site.settings.notify.is_wanted}
    with site.ledger.transaction() as connection:
        for name in (name for name, is_wanted in wanted.items() if is_wanted):
            feed.join(connection, name, at=site.clock())


def _recover(sweeper: Sweeper, said: Logger) -> None:
    result = sweeper.recover()
    if result.did_something:
        said.warning("recovery.done", completed_moves=result.completed_moves, gone=result.gone)


async def run_worker(settings: Settings, link: socket.socket, *, leader: bool, recovering: bool) -> None:
    """Serve what the supervisor at the other end of ``link`` hands over, until it says stop."""
    bounds = Bounds(settings)
    running = Running(settings, recovering=recovering, confine=bounds.set)
    stop_at_signals(running.gate.stop, signal.SIGTERM)
    # What was made so far stays to the end, and is most of what there is: a collection need not look at it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_OFTEN)
    sandbox_stale = partial(running.threads.run, bounds.is_stale)
    await running.serve(work(running.gate, link, sandbox_stale, leader=leader), sweeping=leader)


async def _sweep_regularly(
    sweeper: Sweeper, threads: Threads, interval_seconds: float, beside: Callable[[], None], said: Logger, meter: Meter
) -> None:
    while True:
        try:
            result = await threads.run(sweeper.run)
            await threads.run(beside)
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
