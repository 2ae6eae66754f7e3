from tests.consumers.conftest import connect, open_socket, people

__all__ = ["connect", "open_socket", "people"]
