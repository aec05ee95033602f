import socket

import pytest

from deploy.faults import StartFault
from deploy.ports import claim, first_free, is_free, reserve


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_the_first_free_port_is_taken_of_those_offered() -> None:
    with listening() as taken:
        busy, free = taken.getsockname()[1], first_free(())

        assert first_free([busy, free]) == free
        assert not is_free(busy)


def test_a_port_that_another_program_listens_on_is_refused() -> None:
    with listening() as taken, pytest.raises(StartFault, match="Address already in use"):
        reserve("127.0.0.1", taken.getsockname()[1]).__enter__()


def test_a_reserved_port_is_for_gateways_that_share_it() -> None:
    with reserve("127.0.0.1", 0) as port:
        with claim("127.0.0.1", port, shared=True) as one:
            one.listen()
            with claim("127.0.0.1", port, shared=True) as other:
                other.listen()
        with pytest.raises(StartFault):
            claim("127.0.0.1", port, shared=False)
        with pytest.raises(StartFault):
            reserve("127.0.0.1", port).__enter__()

    assert is_free(port)


def test_a_port_is_free_again_right_after_its_connections_ended() -> None:
    with listening() as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()

    with reserve("127.0.0.1", port) as again:
        assert again == port


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(StartFault, match=r"cannot listen on 192\.0\.2\.1"):
        claim("192.0.2.1", 8071, shared=False)


def test_a_host_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(StartFault, match=r"cannot listen on nowhere\.invalid"):
        claim("nowhere.invalid", 8071, shared=False)
