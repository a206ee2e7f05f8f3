# hook.pl - loaded first by every case script that cases.pl writes.
#  * the suite's rcv() ends the whole process when no packet came in 1 s: here that is a die,
#    caught by the case's eval;
#  * PT_NETNS=1: no socket-intercepting preload is used, real addresses are bound inside a private
#    network namespace; older suites then need the peer address of a received packet in the
#    textual form their preload gives, so IO::Socket::recv answers "[addr]:port".
use strict; use warnings;
our $pt_main = $$;
BEGIN {
	*CORE::GLOBAL::exit = sub { my $c = $_[0] // 0; die "exit($c)\n" if $$ == $main::pt_main; CORE::exit($c) };
}
if ($ENV{PT_NETNS}) {
	require IO::Socket; require Socket;
	no warnings 'redefine';
	my $orig = \&IO::Socket::recv;
	*IO::Socket::recv = sub {
		my $r = &$orig;
		return $r unless defined $r && length $r;
		# newer suites (those that have new_call_nc) take the real address
		return $r if defined &NGCP::Rtpengine::AutoTest::new_call_nc;
		my $fam = eval { Socket::sockaddr_family($r) } // return $r;
		if ($fam == Socket::AF_INET()) { my ($p, $a) = Socket::unpack_sockaddr_in($r); return '[' . Socket::inet_ntoa($a) . "]:$p" }
		if ($fam == Socket::AF_INET6()) { my ($p, $a) = Socket::unpack_sockaddr_in6($r); return '[' . Socket::inet_ntop($fam, $a) . "]:$p" }
		return $r;
	};
	# a connected UDP socket is always "there": wait until the daemon answers a ping, as the suite's
	# start loop expects of its intercepted sockets
	require NGCP::Rtpengine;
	my $new = \&NGCP::Rtpengine::new;
	my ($up, $tries) = (0, 0);
	*NGCP::Rtpengine::new = sub {
		my $self = $new->(@_);
		return $self if $up || ref($_[1]) || !$self->{socket};
		my $ok = eval {
			local $SIG{ALRM} = sub { die "no pong\n" };
			alarm(1);
			my $r = $self->req({ command => 'ping' });
			alarm(0);
			$r->{result} eq 'pong';
		};
		alarm(0);
		if (!$ok) { select(undef, undef, undef, 0.05); $self->{socket} = undef;
			die "daemon does not answer ping\n" if ++$tries > 60; return $self }
		$up = 1;
		return $self;
	};
}
1;
