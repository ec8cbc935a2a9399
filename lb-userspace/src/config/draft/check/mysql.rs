//! The keys of `kind = "mysql"`.

use super::{or_default, read_line, read_path, read_secret};
use crate::config::bounds::{MAX_LAG, MAX_MYSQL_PASSWORD_BYTES, MAX_MYSQL_USER_BYTES};
use crate::config::problem::{Problem, Problems};
use crate::config::table::TableReader;
use crate::model::{MysqlAccount, MysqlCheck, Role};

pub(super) const KEYS: [&str; 5] = ["user", "password", "password_file", "role", "max_lag"];

const ROLES: [(&str, Role); 3] = [("primary", Role::Primary), ("replica", Role::Replica), ("any", Role::Any)];

pub(super) fn read(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<MysqlCheck> {
    let user_field = reader.optional("user");
    let user =
        or_default(user_field, None, |field| read_line(field, 1..=MAX_MYSQL_USER_BYTES, problems).map(Some));
    let (password_field, file_field) = (reader.optional("password"), reader.optional("password_file"));
    let password = or_default(password_field, None, |field| {
        read_secret(field, 0..=MAX_MYSQL_PASSWORD_BYTES, problems).map(Some)
    });
    let password_file = or_default(file_field, None, |field| read_path(field, problems).map(Some));
    let (role_field, lag_field) = (reader.optional("role"), reader.optional("max_lag"));
    let role =
        or_default(role_field, Role::Any, |field| field.choice(&ROLES, problems).map(|role| role.value));
    let max_lag =
        or_default(lag_field, None, |field| field.duration(&MAX_LAG, problems).map(|lag| Some(lag.value)));
    if let (Some(password), Some(file)) = (password_field, file_field) {
        let message = "`password` and `password_file` are both there";
        let problem = Problem::relation(file.span(), message, "remove one of the two");
        problems.push(problem.related(password.span(), "the password"));
        return None;
    }
    if user_field.is_none() {
        let needs_one = [password_field, file_field, role_field, lag_field];
        let Some(field) = needs_one.into_iter().flatten().next() else {
            return Some(MysqlCheck { account: None });
        };
        let message = format!("`{}` needs an account to log in with, and there is no `user`", field.key);
        return field.refuse(message, "add user = \"lb_check\" and its password, or remove this", problems);
    }
    if let (Some(Role::Primary), Some(field)) = (role, lag_field) {
        let hint = "use it with role = \"replica\" or \"any\"";
        return field.refuse("`max_lag` with role = \"primary\": a primary follows nobody", hint, problems);
    }
    Some(MysqlCheck {
        account: Some(MysqlAccount {
            user: user??,
            password: password?,
            password_file: password_file?,
            role: role?,
            max_lag: max_lag?,
        }),
    })
}
