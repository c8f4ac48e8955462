"""Connections that end at a deadline and lead only to addresses that are allowed."""

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

AddressRule = Callable[[str], bool]
"""Tells whether an IP address may be connected to."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Fault(StrEnum):
    """Why an exchange gave no reply."""

    LATE = "no whole answer before the deadline"
    UNREACHABLE = "the server cannot be reached"
    NO_NETWORK = "this machine has no network"
    UNKNOWN_HOST = "no such host"
    TLS = "its certificate is not valid"
    TRUNCATED = "the answer is cut short"
    TOO_LARGE = "the answer is too large"
    FORBIDDEN = "the address is private, local or reserved"
    INVALID = "not a valid web address"


class ExchangeError(Exception):
    """An exchange failed. Its text names the fault and never the address, headers or body."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet.

    >>> is_public("10.0.0.1"), is_public("::ffff:127.0.0.1"), is_public("9.9.9.9")
    (False, False, True)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner: ipaddress.IPv4Address | None = None
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    # An address of the old form inside a new one leads where the old one leads.
    end = inner or ip
    return end.is_global and not end.is_multicast


def anywhere(address: str) -> bool:
    """Allow every address: for servers that the user has configured."""
    del address
    return True


@dataclass(slots=True)
class Watch:
    """Ends the connections of one exchange at its deadline."""

    deadline: float
    """Reading of `time.monotonic`."""
    allows: AddressRule
    """Which addresses may be connected to."""
    timers: list[threading.Timer] = field(default_factory=list)
    """One per connection."""
    handles: list[socket.socket] = field(default_factory=list)
    """A second handle on each connection."""

    def remaining_s(self) -> float:
        """Return the seconds that are left.

        Raises:
            ExchangeError: none are.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise ExchangeError(Fault.LATE)
        return left

    def guard(self, sock: socket.socket) -> None:
        """Shut a connection down at the deadline."""
        # TLS takes the file descriptor out of this socket object; a second one still reaches it.
        handle = socket.socket(fileno=os.dup(sock.fileno()))
        timer = threading.Timer(self.remaining_s(), _shut, [handle])
        timer.daemon = True
        self.handles.append(handle)
        self.timers.append(timer)
        timer.start()

    def release(self) -> None:
        """Let go of the connections."""
        for timer in self.timers:
            timer.cancel()
        for handle in self.handles:
            handle.close()


def _shut(handle: socket.socket) -> None:
    try:
        handle.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The exchange ended first.
        return


CURRENT_WATCH: ContextVar[Watch] = ContextVar("CURRENT_WATCH")
"""The watch of the exchange that this thread is in."""


def _dial(connection: HTTPConnection) -> socket.socket:
    watch = CURRENT_WATCH.get()
    host = connection.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except socket.gaierror as fault:
        is_ours = fault.errno in (socket.EAI_AGAIN, socket.EAI_FAIL)
        raise ExchangeError(Fault.NO_NETWORK if is_ours else Fault.UNKNOWN_HOST) from None
    except UnicodeError:
        raise ExchangeError(Fault.INVALID) from None
    # The address that was checked is the one that is used: a name cannot change in between.
    addresses = [str(entry[4][0]) for entry in found]
    if not all(watch.allows(address) for address in addresses):
        raise ExchangeError(Fault.FORBIDDEN)
    last = Fault.UNREACHABLE
    for address in addresses:
        try:
            timeout_s = watch.remaining_s()
            sock = socket.create_connection((address, connection.port), timeout=timeout_s)
        except TimeoutError:
            last = Fault.LATE
        except OSError:
            last = Fault.UNREACHABLE
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            watch.guard(sock)
            return sock
    raise ExchangeError(last)


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _dial(self)


class _Secure(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _dial(self)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class Adapter(HTTPAdapter):
    """Makes requests use connections that are watched by `CURRENT_WATCH`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools."""
        super().init_poolmanager(*args, **kwargs)
        self._use_own_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make the pools of a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        self._use_own_pools(manager)
        return manager

    @staticmethod
    def _use_own_pools(manager: urllib3.PoolManager) -> None:
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
