#!/usr/bin/perl
# cases.pl - cuts an rtpengine "auto-daemon" test script into single cases.
#
# usage: cases.pl SCRIPT.pl OUTDIR
#
# A case starts at a top-level statement that calls new_call()/new_call_nc-after-a-new_call and
# ends before the next one.  For each case one small script is written to OUTDIR: everything
# before the first case, every sub of the file, the bare "my" declarations made by earlier
# cases, then the case itself inside an eval, so that a die or the 1 s receive time-out of the
# suite's rcv() ends that case only.  Nothing of the suite is stored anywhere but OUTDIR (scratch).
# Prints a JSON list: id, first line, last line, title, file.
use strict; use warnings;
use PPI; use JSON;

my ($script, $out) = @ARGV; die "usage\n" unless $out;
mkdir $out;
my $doc = PPI::Document->new($script, readonly => 1) or die "cannot parse $script\n";
$doc->index_locations;
open my $fh, '<', $script or die; my @lines = <$fh>; close $fh;
my $end = @lines;
for my $i (0 .. $#lines) { if ($lines[$i] =~ /^__(END|DATA)__/) { $end = $i; last } }

my @st = grep { $_->isa('PPI::Statement') } $doc->children;
my @units;
for my $n (0 .. $#st) {
	my $s = $st[$n];
	my $l = $s->line_number;
	next if $s->isa('PPI::Statement::End') || $s->isa('PPI::Statement::Data');
	my $txt = $s->content;
	my $e = $n < $#st ? $st[$n+1]->line_number - 1 : $end;
	push @units, { s => $l, e => $e, sub => $s->isa('PPI::Statement::Sub') ? 1 : 0,
		start => ($txt =~ /\bnew_call\s*[\(;]/ && !$s->isa('PPI::Statement::Sub')) ? 1 : 0,
		done => $txt =~ /^\s*done_testing/ ? 1 : 0,
		my => $txt =~ /^my\s*(\([^)]*\)|[\$\@%]\w+)/s ? $1 : undef,
	};
}
# several statements on one line: merge
my @m;
for my $u (@units) {
	if (@m && $u->{s} <= $m[-1]{s}) { $m[-1]{e} = $u->{e} if $u->{e} > $m[-1]{e};
		$m[-1]{start} ||= $u->{start}; next }
	push @m, $u;
}
@units = @m;
my ($first) = grep { $units[$_]{start} } 0 .. $#units;
die "no case in $script\n" unless defined $first;
my $head = join '', @lines[0 .. $units[$first]{s} - 2];
my @cases; my $cur; my @subs; my @mys;
for my $n ($first .. $#units) {
	my $u = $units[$n];
	my $text = join '', @lines[$u->{s} - 1 .. $u->{e} - 1];
	if ($u->{sub}) { push @subs, $text; next }
	next if $u->{done};
	if ($u->{start}) { $cur = { s => $u->{s}, text => '', predecl => [@mys] }; push @cases, $cur }
	$cur->{text} .= $text; $cur->{e} = $u->{e};
	push @mys, $u->{my} if $u->{my};
}
my $tail_subs = join '', @subs;
(my $base = $script) =~ s{.*/}{}; $base =~ s/\.pl$//; $base =~ s/^auto-daemon-tests-?//; $base = 'main' if $base eq '';
my @list;
my $id = 0;
for my $c (@cases) {
	$id++;
	my ($title) = $c->{text} =~ /\b(?:offer|answer|publish|subscribe_request|rtpe_req\s*\(\s*['"][^'"]*['"]\s*,|create)\s*\(?\s*(['"])(.+?)\1/s ? $2 : '';
	my %seen; my $pre = '';
	for my $d (@{$c->{predecl}}) { for my $v ($d =~ /([\$\@%]\w+)/g) { $pre .= "my $v;\n" unless $seen{$v}++ } }
	my $f = sprintf '%s/%s-%03d.pl', $out, $base, $id;
	open my $o, '>', $f or die;
	# PT_INJECT: hook file loaded before the suite's own modules
	print $o "BEGIN { require \$ENV{PT_HOOK} if \$ENV{PT_HOOK} }\n", $head, "\n", $tail_subs, "\n{ no warnings; $pre\n",
		"print \"# PT-START\\n\";\nmy \$pt_done = eval {\n", $c->{text}, "\n;1 };\n",
		"print \$pt_done ? \"# PT-COMPLETE\\n\" : \"not ok - PT-ABORTED: \" . (\$\@ =~ s/\\n.*//sr) . \"\\n\";\n}\n",
		"Test::More::done_testing();\n";
	close $o;
	push @list, { id => sprintf('%s-%03d', $base, $id), first => $c->{s}, last => $c->{e}, title => $title, file => $f };
}
print JSON->new->canonical->pretty->encode(\@list);
