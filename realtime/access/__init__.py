"""Who a client is, what it may do, and how that ends.

- `credentials`: finds the credential that a client sent. `authentication`: whether it is valid,
  and the error for one that is invalid or has expired.
- `user_access`: what a user may read, by a function of the project. `groups`: by groups.
- `identity`: the client with its scopes and limits. `cache`, `batches`: looked up once, many at a
  time.
- `tokens`: issues and ends JSON Web Tokens. `signatures`: the keys that sign them.
- `tickets`: one-use tickets.
- `revocation`: makes a change of a credential known. `live_sockets`: the open sockets that it ends.
- `roll_call`: asks all processes for their open connections. `roster`: what each one answers.
  `connection_search`: the same by names of users and keys.
- `origins`: which web pages may connect. `addresses`: the address of a client, behind proxies.
- `redact`: keeps credentials out of logs. `reports`: and out of error pages.
"""
